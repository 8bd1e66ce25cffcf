"""Namespaces, secrets, config maps, events and leases; discovery and reviews."""

import base64
from typing import Any

import pytest

from tests.cluster.conftest import MERGE, Cluster, causes, eventually

UNVALIDATED = "the genuine test server stores core kinds without looking at them"


def _config_map(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


async def test_string_data_of_a_secret_becomes_data(cluster: Cluster) -> None:
    cluster.needs_standalone(UNVALIDATED)
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "väl"}}
    secret = (await cluster.send("POST", cluster.core("secrets"), body)).json()
    assert base64.b64decode(secret["data"]["a"]).decode() == "väl"
    assert "stringData" not in secret
    assert secret["type"] == "Opaque"


async def test_data_of_a_secret_must_be_base64(cluster: Cluster) -> None:
    cluster.needs_standalone(UNVALIDATED)
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "not base64!"}}
    answer = await cluster.send("POST", cluster.core("secrets"), body)
    assert answer.status_code == 422


async def test_an_immutable_config_map_stays_as_it_is(cluster: Cluster) -> None:
    cluster.needs_standalone(UNVALIDATED)
    await cluster.send("POST", cluster.core("configmaps"), _config_map("c", data={"a": "1"}, immutable=True))
    path = f"{cluster.core('configmaps')}/c"
    answer = await cluster.send("PATCH", path, {"data": {"a": "2"}}, content_type=MERGE)
    assert (answer.status_code, causes(answer)) == (422, {("data", "FieldValueForbidden")})


async def test_config_maps_take_strategic_merge_patches(cluster: Cluster) -> None:
    await cluster.send("POST", cluster.core("configmaps"), _config_map("c", data={"a": "1", "b": "2"}))
    path = f"{cluster.core('configmaps')}/c"
    kind = "application/strategic-merge-patch+json"
    answer = await cluster.send("PATCH", path, {"data": {"a": None, "c": "3"}}, content_type=kind)
    assert answer.json()["data"] == {"b": "2", "c": "3"}


async def test_a_client_with_generated_types_may_leave_out_the_kind(cluster: Cluster) -> None:
    answer = await cluster.send("POST", cluster.core("configmaps"), {"metadata": {"name": "c"}, "data": {"a": "1"}})
    assert answer.status_code == 201
    assert (answer.json()["kind"], answer.json()["apiVersion"]) == ("ConfigMap", "v1")


async def test_a_namespace_carries_its_name_as_a_label(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server does not default namespaces")
    namespace = (await cluster.send("GET", f"/api/v1/namespaces/{cluster.namespace}")).json()
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": cluster.namespace}
    assert namespace["status"] == {"phase": "Active"}


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_the_usual_namespaces_exist(cluster: Cluster, name: str) -> None:
    cluster.needs_standalone("the genuine test server has no kube-system")
    assert await cluster.exists(f"/api/v1/namespaces/{name}")


async def test_deleting_a_namespace_removes_what_is_in_it(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server has no namespace controller")
    await cluster.create("free")
    await cluster.create("held", finalizers=["x.dev/y"])
    await cluster.send("POST", cluster.core("configmaps"), _config_map("c"))
    home = f"/api/v1/namespaces/{cluster.namespace}"
    answer = (await cluster.send("DELETE", home)).json()
    assert answer["status"]["phase"] == "Terminating"

    async def only_the_held_one_is_left() -> bool:
        return await cluster.names() == ["held"] and not await cluster.exists(f"{cluster.core('configmaps')}/c")

    await eventually(only_the_held_one_is_left)
    refused = await cluster.send("POST", cluster.widgets, cluster.widget("late"))
    assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
    assert refused.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await cluster.patched("held", {"metadata": {"finalizers": None}})

    async def the_namespace_is_gone() -> bool:
        return not await cluster.exists(home)

    await eventually(the_namespace_is_gone)


def _event(cluster: Cluster) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Widget", "name": "w", "namespace": cluster.namespace},
        "reason": "Tested",
        "message": "it works",
        "type": "Normal",
    }


async def test_events_are_chosen_by_what_they_are_about(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server knows no field selectors of events")
    await cluster.send("POST", cluster.core("events"), _event(cluster))
    for selector, count in (("involvedObject.name=w,involvedObject.kind=Widget", 1), ("involvedObject.name=v", 0)):
        found = (await cluster.send("GET", cluster.core("events"), fieldSelector=selector)).json()["items"]
        assert len(found) == count


async def test_an_event_is_one_object_in_both_of_its_groups(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server stores the two groups apart")
    await cluster.send("POST", cluster.core("events"), _event(cluster))
    path = f"/apis/events.k8s.io/v1/namespaces/{cluster.namespace}/events"
    event = (await cluster.send("GET", f"{path}/e")).json()
    assert (event["apiVersion"], event["note"], event["regarding"]["name"]) == ("events.k8s.io/v1", "it works", "w")
    body = {**event, "metadata": {"name": "f"}, "note": "the other way"}
    assert (await cluster.send("POST", path, body)).status_code == 201
    core = (await cluster.send("GET", f"{cluster.core('events')}/f")).json()
    assert (core["apiVersion"], core["message"]) == ("v1", "the other way")


async def test_a_lease_is_renewed_by_whoever_read_it_last(cluster: Cluster) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{cluster.namespace}/leases"
    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": spec}
    lease = (await cluster.send("POST", path, body)).json()
    taken = {**lease, "spec": {**spec, "holderIdentity": "two"}}
    assert (await cluster.send("PUT", f"{path}/l", taken)).status_code == 200
    late = {**lease, "spec": {**spec, "holderIdentity": "three"}}
    assert (await cluster.send("PUT", f"{path}/l", late)).status_code == 409
    assert (await cluster.send("DELETE", f"{path}/l")).status_code == 200


async def test_a_lease_put_where_none_is_creates_it(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server creates no core kinds by PUT")
    path = f"/apis/coordination.k8s.io/v1/namespaces/{cluster.namespace}/leases/l"
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    assert (await cluster.send("PUT", path, body)).status_code == 201


async def test_discovery_names_every_resource(cluster: Cluster) -> None:
    groups = (await cluster.send("GET", "/apis")).json()
    assert cluster.group in {group["name"] for group in groups["groups"]}
    group = (await cluster.send("GET", f"/apis/{cluster.group}")).json()
    assert (group["kind"], group["preferredVersion"]["version"]) == ("APIGroup", "v1alpha1")
    resources = (await cluster.send("GET", f"/apis/{cluster.api_version}")).json()["resources"]
    assert {resource["name"] for resource in resources} == {"widgets", "widgets/status", "widgets/scale"}
    widget = next(resource for resource in resources if resource["name"] == "widgets")
    assert (widget["shortNames"], widget["categories"], widget["namespaced"]) == (["wdg"], ["testthings"], True)


async def test_discovery_comes_in_one_document_where_that_is_wanted(cluster: Cluster) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = await cluster.send("GET", "/apis", accept=accept)
    assert "as=APIGroupDiscoveryList" in answer.headers["content-type"]
    group = next(item for item in answer.json()["items"] if item["metadata"]["name"] == cluster.group)
    resource = group["versions"][0]["resources"][0]
    assert (resource["resource"], resource["responseKind"]["kind"], resource["scope"]) == (
        "widgets",
        "Widget",
        "Namespaced",
    )
    assert {part["subresource"] for part in resource["subresources"]} == {"status", "scale"}


async def test_the_only_user_may_do_everything(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server serves no authorization group")
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}}
    answer = await cluster.send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert (answer.status_code, answer.json()["status"]["allowed"]) == (201, True)


async def test_openapi_describes_custom_resources(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server publishes no documents of custom resources")
    index = (await cluster.send("GET", "/openapi/v3")).json()["paths"]
    url = index[f"apis/{cluster.api_version}"]["serverRelativeURL"]
    answer = await cluster.send("GET", url)
    assert "immutable" in answer.headers["cache-control"]
    schemas = answer.json()["components"]["schemas"].values()
    gvk = {"group": cluster.group, "version": "v1alpha1", "kind": "Widget"}
    widget = next(schema for schema in schemas if schema.get("x-kubernetes-group-version-kind") == [gvk])
    assert widget["properties"]["spec"]["properties"]["color"]["enum"] == ["red", "green", "blue"]
