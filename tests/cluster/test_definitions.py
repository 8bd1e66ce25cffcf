"""CustomResourceDefinitions while the server runs."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.cluster.conftest import MERGE, Cluster, causes, eventually, widget_definition

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
async def definition(cluster: Cluster) -> AsyncIterator[dict[str, Any]]:
    """A definition of a group of its own, not yet created; removed afterwards."""
    body = widget_definition(f"d{secrets.token_hex(3)}.test.agentpool.dev")
    yield body
    await cluster.send("DELETE", f"{DEFINITIONS}/{body['metadata']['name']}")


def _at(cluster: Cluster, definition: dict[str, Any], version: str = "v1alpha1") -> str:
    return f"/apis/{definition['spec']['group']}/{version}/namespaces/{cluster.namespace}/widgets"


def _body(definition: dict[str, Any], spec: dict[str, Any], version: str = "v1alpha1") -> dict[str, Any]:
    return {
        "apiVersion": f"{definition['spec']['group']}/{version}",
        "kind": "Widget",
        "metadata": {"name": "a"},
        "spec": spec,
    }


async def _serve(cluster: Cluster, definition: dict[str, Any]) -> None:
    answer = await cluster.send("POST", DEFINITIONS, definition)
    assert answer.status_code == 201, answer.text

    async def is_served() -> bool:
        return await cluster.exists(_at(cluster, definition))

    await eventually(is_served)


async def test_a_new_definition_is_established_and_served(cluster: Cluster, definition: dict[str, Any]) -> None:
    await _serve(cluster, definition)
    status = (await cluster.send("GET", f"{DEFINITIONS}/{definition['metadata']['name']}")).json()["status"]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert (conditions["NamesAccepted"], conditions["Established"]) == ("True", "True")
    assert status["storedVersions"] == ["v1alpha1"]
    assert status["acceptedNames"]["listKind"] == "WidgetList"


async def test_a_default_added_later_shows_in_what_is_already_stored(
    cluster: Cluster, definition: dict[str, Any]
) -> None:
    await _serve(cluster, definition)
    await cluster.send("POST", _at(cluster, definition), _body(definition, {"color": "red"}))
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["later"] = {"type": "string", "default": "now"}
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    answer = await cluster.send(
        "PATCH", path, {"spec": {"versions": definition["spec"]["versions"]}}, content_type=MERGE
    )
    assert answer.status_code == 200, answer.text

    async def the_default_shows() -> bool:
        answer = await cluster.send("GET", f"{_at(cluster, definition)}/a")
        return answer.status_code == 200 and answer.json()["spec"].get("later") == "now"

    await eventually(the_default_shows)


async def test_versions_show_the_same_objects(cluster: Cluster, definition: dict[str, Any]) -> None:
    first = definition["spec"]["versions"][0]
    definition["spec"]["versions"].append({**first, "name": "v1beta1", "storage": False})
    await _serve(cluster, definition)
    await cluster.send("POST", _at(cluster, definition), _body(definition, {"color": "red"}))
    other = _at(cluster, definition, "v1beta1")
    shown = (await cluster.send("GET", f"{other}/a")).json()
    assert (shown["apiVersion"], shown["spec"]["color"]) == (f"{definition['spec']['group']}/v1beta1", "red")
    changed = await cluster.send("PATCH", f"{other}/a", {"spec": {"color": "blue"}}, content_type=MERGE)
    assert changed.json()["apiVersion"].endswith("/v1beta1")
    stored = (await cluster.send("GET", f"{_at(cluster, definition)}/a")).json()
    assert (stored["apiVersion"].endswith("/v1alpha1"), stored["spec"]["color"]) == (True, "blue")
    items = (await cluster.send("GET", other)).json()["items"]
    assert [item["apiVersion"] for item in items] == [shown["apiVersion"]]


async def test_deleting_a_definition_deletes_its_objects(cluster: Cluster, definition: dict[str, Any]) -> None:
    await _serve(cluster, definition)
    await cluster.send("POST", _at(cluster, definition), _body(definition, {"color": "red"}))
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    assert (await cluster.send("DELETE", path)).status_code == 200

    async def is_gone() -> bool:
        return not await cluster.exists(path) and not await cluster.exists(_at(cluster, definition))

    await eventually(is_gone)
    await _serve(cluster, definition)
    assert (await cluster.send("GET", _at(cluster, definition))).json()["items"] == []


def _schema(definition: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


async def test_a_definition_whose_name_does_not_fit_is_refused(cluster: Cluster, definition: dict[str, Any]) -> None:
    definition["spec"]["names"]["plural"] = "gadgets"
    answer = await cluster.send("POST", DEFINITIONS, definition)
    assert answer.status_code == 422
    assert ("metadata.name", "FieldValueInvalid") in causes(answer)


async def test_a_definition_with_two_storage_versions_is_refused(cluster: Cluster, definition: dict[str, Any]) -> None:
    versions = definition["spec"]["versions"]
    versions.append({**versions[0], "name": "v2"})
    answer = await cluster.send("POST", DEFINITIONS, definition)
    assert answer.status_code == 422
    assert ("spec.versions", "FieldValueInvalid") in causes(answer)


async def test_a_rule_that_does_not_compile_is_refused(cluster: Cluster, definition: dict[str, Any]) -> None:
    _schema(definition)["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.color ==="}]
    answer = await cluster.send("POST", DEFINITIONS, definition)
    assert answer.status_code == 422
    assert "compilation failed" in answer.json()["message"]


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"rule": "1"}, "bool"),
        ({"rule": "optional.of(true)"}, "bool"),
        ({"rule": "true", "messageExpression": "1"}, "string"),
    ],
    ids=["a number", "an optional", "a message that is a number"],
)
async def test_a_rule_whose_result_is_of_another_type_is_refused(
    cluster: Cluster, definition: dict[str, Any], rule: dict[str, str], kind: str
) -> None:
    _schema(definition)["properties"]["spec"]["x-kubernetes-validations"] = [rule]
    answer = await cluster.send("POST", DEFINITIONS, definition)
    assert answer.status_code == 422
    assert f"must evaluate to a {kind}" in answer.json()["message"]


async def test_a_default_that_breaks_its_own_schema_is_refused(cluster: Cluster, definition: dict[str, Any]) -> None:
    _schema(definition)["properties"]["spec"]["properties"]["replicas"]["default"] = 1000
    answer = await cluster.send("POST", DEFINITIONS, definition)
    assert answer.status_code == 422


async def test_a_schema_without_types_is_refused(cluster: Cluster, definition: dict[str, Any]) -> None:
    _schema(definition)["properties"]["spec"]["properties"]["untyped"] = {"description": "what is this?"}
    answer = await cluster.send("POST", DEFINITIONS, definition)
    assert answer.status_code == 422
    assert any(field.endswith("properties[untyped].type") for field, _ in causes(answer))
