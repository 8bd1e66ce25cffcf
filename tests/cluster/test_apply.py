"""Server-side apply: who owns what."""

from typing import Any

from tests.cluster.conftest import APPLY, Cluster


async def _apply(cluster: Cluster, spec: dict[str, Any], manager: str, **params: str) -> Any:
    body = cluster.widget("a", spec)
    return await cluster.patch("a", body, kind=APPLY, fieldManager=manager, **params)


async def _applied(cluster: Cluster, spec: dict[str, Any], manager: str, **params: str) -> dict[str, Any]:
    answer = await _apply(cluster, spec, manager, **params)
    assert answer.status_code in {200, 201}, answer.text
    obj: dict[str, Any] = answer.json()
    return obj


def _owned(obj: dict[str, Any], manager: str) -> dict[str, Any]:
    fields = [entry["fieldsV1"] for entry in obj["metadata"]["managedFields"] if entry["manager"] == manager]
    assert len(fields) == 1
    owned: dict[str, Any] = fields[0]
    return owned


async def test_an_apply_creates_and_then_agrees(cluster: Cluster) -> None:
    first = await _apply(cluster, {"color": "red", "note": "n"}, "one")
    assert first.status_code == 201
    entry = first.json()["metadata"]["managedFields"][0]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("one", "Apply", cluster.api_version)
    assert entry["fieldsV1"] == {"f:spec": {"f:color": {}, "f:note": {}}}
    second = await _apply(cluster, {"color": "red", "note": "n"}, "one")
    assert second.status_code == 200
    assert second.json() == first.json()


async def test_a_field_no_longer_applied_is_removed(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "note": "n", "labels": {"a": "1", "b": "2"}, "replicas": 5}, "one")
    spec = (await _applied(cluster, {"color": "red", "labels": {"a": "1"}}, "one"))["spec"]
    assert "note" not in spec
    assert spec["labels"] == {"a": "1"}
    assert spec["replicas"] == 1


async def test_a_field_that_another_manager_owns_is_a_conflict(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "note": "n"}, "one")
    answer = await _apply(cluster, {"color": "blue", "note": "other"}, "two")
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert answer.json()["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .spec.color\n- .spec.note'
    )
    assert answer.json()["details"]["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one"',
        "field": ".spec.color",
    }


async def test_force_takes_a_field_over(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "note": "n"}, "one")
    obj = await _applied(cluster, {"color": "blue"}, "two", force="true")
    assert obj["spec"]["color"] == "blue"
    assert _owned(obj, "one") == {"f:spec": {"f:note": {}}}
    assert _owned(obj, "two") == {"f:spec": {"f:color": {}}}


async def test_a_value_both_agree_on_is_owned_by_both(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "note": "n"}, "one")
    await _applied(cluster, {"color": "red"}, "two")
    obj = await _applied(cluster, {"note": "n"}, "one")
    assert obj["spec"]["color"] == "red"


async def test_items_of_keyed_lists_and_sets_belong_to_who_applied_them(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "parts": [{"name": "p1", "size": 1}], "tags": ["t1"]}, "one")
    both = await _applied(cluster, {"color": "red", "parts": [{"name": "p2", "size": 2}], "tags": ["t2"]}, "two")
    assert both["spec"]["parts"] == [{"name": "p1", "size": 1}, {"name": "p2", "size": 2}]
    assert both["spec"]["tags"] == ["t1", "t2"]
    fields = _owned(both, "two")["f:spec"]
    assert fields["f:parts"] == {'k:{"name":"p2"}': {".": {}, "f:name": {}, "f:size": {}}}
    assert fields["f:tags"] == {'v:"t2"': {}}
    left = await _applied(cluster, {"color": "red"}, "one")
    assert left["spec"]["parts"] == [{"name": "p2", "size": 2}]
    assert left["spec"]["tags"] == ["t2"]


async def test_an_atomic_list_is_owned_whole(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "atoms": [1, 2]}, "one")
    answer = await _apply(cluster, {"atoms": [3]}, "two")
    assert answer.json()["details"]["causes"][0]["field"] == ".spec.atoms"


async def test_an_update_takes_ownership_of_what_it_changed(cluster: Cluster) -> None:
    obj = await _applied(cluster, {"color": "red", "note": "n"}, "one")
    obj["spec"]["note"] = "by put"
    answer = await cluster.send("PUT", f"{cluster.widgets}/a", obj, fieldManager="putter")
    assert _owned(answer.json(), "one") == {"f:spec": {"f:color": {}}}
    assert _owned(answer.json(), "putter") == {"f:spec": {"f:note": {}}}
    conflict = await _apply(cluster, {"color": "red", "note": "n"}, "one")
    assert conflict.json()["message"] == (
        f'Apply failed with 1 conflict: conflict with "putter" using {cluster.api_version}: .spec.note'
    )


async def test_the_status_is_applied_through_its_subresource(cluster: Cluster) -> None:
    await cluster.create("a")
    body = cluster.widget("a")
    del body["spec"]
    body["status"] = {"phase": "Ready", "conditions": [{"type": "Ready", "status": "True"}]}
    path = f"{cluster.widgets}/a/status"
    answer = await cluster.send("PATCH", path, body, content_type=APPLY, fieldManager="controller")
    assert answer.json()["status"] == body["status"]
    entry = next(e for e in answer.json()["metadata"]["managedFields"] if e["manager"] == "controller")
    assert entry["subresource"] == "status"


async def test_an_apply_must_name_its_manager(cluster: Cluster) -> None:
    answer = await cluster.patch("a", cluster.widget("a"), kind=APPLY)
    assert answer.status_code == 422
    assert answer.json()["details"]["causes"][0]["field"] == "fieldManager"


async def test_an_apply_may_not_speak_for_other_managers(cluster: Cluster) -> None:
    answer = await cluster.patch("a", cluster.widget("a", managedFields=[]), kind=APPLY, fieldManager="one")
    assert answer.status_code == 400
    assert answer.json()["message"] == "metadata.managedFields must be nil"


async def test_an_apply_of_an_undeclared_field_fails(cluster: Cluster) -> None:
    answer = await _apply(cluster, {"color": "red", "zork": 1}, "one")
    assert answer.status_code == 500
    assert ".spec.zork: field not declared in schema" in answer.json()["message"]


async def test_managed_fields_can_be_forgotten(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red"}, "one")
    obj = await cluster.patched("a", {"metadata": {"managedFields": [{}]}})
    assert "managedFields" not in obj["metadata"]


async def test_an_abandoned_item_goes_with_the_defaults_it_was_given(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "parts": [{"name": "p"}, {"name": "q"}]}, "one")
    left = await _applied(cluster, {"color": "red", "parts": [{"name": "q"}]}, "one")
    assert left["spec"]["parts"] == [{"name": "q", "size": 7}]


async def test_what_others_hold_below_an_abandoned_field_stays(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "free": {}}, "one")
    await cluster.patched("a", {"spec": {"free": {"a": {"b": 1}}}}, fieldManager="two")
    left = await _applied(cluster, {"color": "red"}, "one")
    assert left["spec"]["free"] == {"a": {"b": 1}}


async def test_items_stand_in_the_order_of_the_last_apply(cluster: Cluster) -> None:
    await _applied(cluster, {"color": "red", "tags": ["x", "z"]}, "one")
    obj = await _applied(cluster, {"color": "red", "tags": ["z", "y", "x"]}, "one")
    assert obj["spec"]["tags"] == ["z", "y", "x"]
    both = await _applied(cluster, {"tags": ["x"]}, "two")
    assert both["spec"]["tags"] == ["z", "y", "x"]
