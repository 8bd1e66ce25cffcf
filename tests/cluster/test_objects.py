"""Creating, reading, changing and deleting objects."""

from tests.cluster.conftest import JSON_PATCH, MERGE, Cluster, causes


async def test_a_created_object_is_read_back_with_its_defaults(cluster: Cluster) -> None:
    created = await cluster.create("a", {"color": "red", "parts": [{"name": "x"}]})
    assert created["spec"] == {
        "color": "red",
        "maxReplicas": 50,
        "nested": {"depth": 3, "lit": False},
        "parts": [{"name": "x", "size": 7}],
        "replicas": 1,
    }
    assert created["metadata"]["generation"] == 1
    assert created["metadata"]["uid"]
    assert await cluster.get("a") == created


async def test_a_name_is_taken_only_once(cluster: Cluster) -> None:
    await cluster.create("a")
    answer = await cluster.send("POST", cluster.widgets, cluster.widget("a"))
    assert answer.status_code == 409
    assert answer.json() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'widgets.{cluster.group} "a" already exists',
        "reason": "AlreadyExists",
        "details": {"name": "a", "group": cluster.group, "kind": "widgets"},
        "code": 409,
    }


async def test_generate_name_makes_distinct_names(cluster: Cluster) -> None:
    names = {(await cluster.create("", generateName="gen-"))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("gen-") and len(name) == 9 for name in names)


async def test_an_object_in_a_missing_namespace_is_refused(cluster: Cluster) -> None:
    path = cluster.widgets.replace(cluster.namespace, "no-such-namespace")
    answer = await cluster.send("POST", path, cluster.widget("a"))
    assert answer.status_code == 404
    assert answer.json()["details"] == {"name": "no-such-namespace", "kind": "namespaces"}


async def test_an_object_of_another_namespace_than_the_path_is_refused(cluster: Cluster) -> None:
    answer = await cluster.send("POST", cluster.widgets, cluster.widget("a", namespace="other"))
    assert answer.status_code == 400


async def test_the_status_of_a_new_object_is_ignored(cluster: Cluster) -> None:
    body = cluster.widget("a") | {"status": {"phase": "Made up"}}
    created = (await cluster.send("POST", cluster.widgets, body)).json()
    assert "status" not in created


async def test_yaml_is_read_and_written(cluster: Cluster) -> None:
    body = f"apiVersion: {cluster.api_version}\nkind: Widget\nmetadata:\n  name: why\nspec:\n  color: blue\n"
    answer = await cluster.send(
        "POST", cluster.widgets, body.encode(), content_type="application/yaml", accept="application/yaml"
    )
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/yaml"
    assert "color: blue" in answer.text


async def test_a_put_without_a_resource_version_is_refused(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    del obj["metadata"]["resourceVersion"]
    answer = await cluster.send("PUT", f"{cluster.widgets}/a", obj)
    assert answer.status_code == 422
    assert causes(answer) == {("metadata.resourceVersion", "FieldValueInvalid")}


async def test_of_two_writers_of_one_version_the_second_gets_a_conflict(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    obj["spec"]["color"] = "blue"
    assert (await cluster.send("PUT", f"{cluster.widgets}/a", obj)).status_code == 200
    obj["spec"]["color"] = "green"
    answer = await cluster.send("PUT", f"{cluster.widgets}/a", obj)
    assert answer.status_code == 409
    assert answer.json()["reason"] == "Conflict"
    assert answer.json()["message"] == (
        f'Operation cannot be fulfilled on widgets.{cluster.group} "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert (await cluster.get("a"))["spec"]["color"] == "blue"


async def test_a_put_for_another_uid_is_a_conflict(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    obj["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
    assert (await cluster.send("PUT", f"{cluster.widgets}/a", obj)).status_code == 409


async def test_a_put_of_a_missing_object_is_not_found(cluster: Cluster) -> None:
    answer = await cluster.send("PUT", f"{cluster.widgets}/a", cluster.widget("a", resourceVersion="1"))
    assert answer.status_code == 404


async def test_a_write_that_changes_nothing_keeps_the_resource_version(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    answer = await cluster.send("PUT", f"{cluster.widgets}/a", obj)
    assert answer.json()["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]
    same = await cluster.patched("a", {"spec": {"color": "red"}})
    assert same["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]


async def test_the_server_keeps_what_only_it_may_set(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    forged = {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 77}
    after = await cluster.patched("a", {"metadata": {**forged, "labels": {"k": "v"}}})
    assert after["metadata"]["creationTimestamp"] == obj["metadata"]["creationTimestamp"]
    assert after["metadata"]["generation"] == 1
    answer = await cluster.patch("a", {"metadata": {"deletionTimestamp": "2001-01-01T00:00:00Z"}})
    assert (answer.status_code, causes(answer)) == (422, {("metadata.deletionTimestamp", "FieldValueInvalid")})


async def test_generation_counts_changes_of_the_spec_only(cluster: Cluster) -> None:
    await cluster.create("a")
    assert (await cluster.patched("a", {"spec": {"color": "blue"}}))["metadata"]["generation"] == 2
    assert (await cluster.patched("a", {"metadata": {"labels": {"k": "v"}}}))["metadata"]["generation"] == 2
    answer = await cluster.send("PATCH", f"{cluster.widgets}/a/status", {"status": {"phase": "x"}}, content_type=MERGE)
    assert answer.json()["metadata"]["generation"] == 2


async def test_a_status_write_changes_the_status_alone(cluster: Cluster) -> None:
    await cluster.create("a")
    patch = {
        "status": {"phase": "Ready", "replicas": 2},
        "spec": {"color": "blue"},
        "metadata": {"labels": {"k": "v"}, "annotations": {"k": "v"}, "finalizers": ["x.dev/y"]},
    }
    after = (await cluster.send("PATCH", f"{cluster.widgets}/a/status", patch, content_type=MERGE)).json()
    assert after["status"] == {"phase": "Ready", "replicas": 2}
    assert after["spec"]["color"] == "red"
    assert not {"labels", "annotations", "finalizers"} & after["metadata"].keys()


async def test_a_main_write_leaves_the_status_alone(cluster: Cluster) -> None:
    await cluster.create("a")
    path = f"{cluster.widgets}/a/status"
    await cluster.send("PATCH", path, {"status": {"phase": "Ready"}}, content_type=MERGE)
    assert (await cluster.patched("a", {"status": {"phase": "Forged"}}))["status"] == {"phase": "Ready"}
    assert (await cluster.patched("a", {"status": None}))["status"] == {"phase": "Ready"}


async def test_a_guarded_status_patch_loses_to_a_newer_version(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    await cluster.patched("a", {"spec": {"color": "blue"}})
    guard = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "status": {"phase": "x"}}
    answer = await cluster.send("PATCH", f"{cluster.widgets}/a/status", guard, content_type=MERGE)
    assert answer.status_code == 409


async def test_a_null_in_a_merge_patch_removes_a_field_and_brings_its_default_back(cluster: Cluster) -> None:
    await cluster.create("a", {"color": "red", "big": 5, "replicas": 9})
    spec = (await cluster.patched("a", {"spec": {"big": None, "replicas": None}}))["spec"]
    assert "big" not in spec
    assert spec["replicas"] == 1


async def test_a_json_patch_is_applied_whole_or_not_at_all(cluster: Cluster) -> None:
    await cluster.create("a")
    good = [
        {"op": "test", "path": "/spec/color", "value": "red"},
        {"op": "replace", "path": "/spec/color", "value": "blue"},
        {"op": "add", "path": "/spec/tags", "value": ["t"]},
    ]
    spec = (await cluster.patched("a", good, kind=JSON_PATCH))["spec"]
    assert (spec["color"], spec["tags"]) == ("blue", ["t"])
    answer = await cluster.patch("a", good, kind=JSON_PATCH)
    assert answer.status_code == 422
    assert answer.json()["message"] == "the server rejected our request due to an error in our request"


async def test_a_patch_may_not_rename(cluster: Cluster) -> None:
    await cluster.create("a")
    answer = await cluster.patch("a", {"metadata": {"name": "b"}})
    assert answer.status_code == 400
    assert answer.json()["message"] == "the name of the object (b) does not match the name on the URL (a)"


async def test_custom_resources_take_no_strategic_merge_patch(cluster: Cluster) -> None:
    await cluster.create("a")
    answer = await cluster.patch("a", {"spec": {}}, kind="application/strategic-merge-patch+json")
    assert answer.status_code == 415
    assert answer.json()["reason"] == "UnsupportedMediaType"


async def test_a_dry_run_shows_everything_and_stores_nothing(cluster: Cluster) -> None:
    answer = await cluster.send("POST", cluster.widgets, cluster.widget("a"), dryRun="All")
    assert answer.status_code == 201
    assert answer.json()["spec"]["replicas"] == 1
    assert not await cluster.exists(f"{cluster.widgets}/a")
    created = await cluster.create("a")
    changed = await cluster.patched("a", {"spec": {"color": "blue"}}, dryRun="All")
    assert changed["spec"]["color"] == "blue"
    assert (await cluster.send("DELETE", f"{cluster.widgets}/a", dryRun="All")).status_code == 200
    assert await cluster.get("a") == created


async def test_the_scale_subresource_reads_and_writes_replicas(cluster: Cluster) -> None:
    await cluster.create("a", {"color": "red", "replicas": 2})
    status = {"status": {"replicas": 1, "selector": "app=a"}}
    await cluster.send("PATCH", f"{cluster.widgets}/a/status", status, content_type=MERGE)
    path = f"{cluster.widgets}/a/scale"
    scale = (await cluster.send("GET", path)).json()
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "app=a"})
    scale["spec"]["replicas"] = 5
    assert (await cluster.send("PUT", path, scale)).json()["spec"] == {"replicas": 5}
    assert (await cluster.send("PUT", path, scale)).status_code == 409
    patched = await cluster.send("PATCH", path, {"spec": {"replicas": 7}}, content_type=MERGE)
    assert patched.json()["spec"] == {"replicas": 7}
    assert (await cluster.get("a"))["spec"]["replicas"] == 7


async def test_scaling_is_held_to_the_rules_of_the_object(cluster: Cluster) -> None:
    await cluster.create("a")
    path = f"{cluster.widgets}/a/scale"
    negative = await cluster.send("PATCH", path, {"spec": {"replicas": -5}}, content_type=MERGE)
    assert (negative.status_code, causes(negative)) == (
        422,
        {("spec.replicas", "FieldValueInvalid"), (".spec.replicas", "FieldValueInvalid")},
    )
    beyond = await cluster.send("PATCH", path, {"spec": {"replicas": 80}}, content_type=MERGE)
    assert (beyond.status_code, causes(beyond)) == (422, {("spec.replicas", "FieldValueForbidden")})


async def test_a_delete_answers_with_the_uid_of_what_went(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    answer = await cluster.send("DELETE", f"{cluster.widgets}/a")
    assert answer.json()["status"] == "Success"
    assert answer.json()["details"]["uid"] == obj["metadata"]["uid"]
    again = await cluster.send("DELETE", f"{cluster.widgets}/a")
    assert again.status_code == 404


async def test_a_delete_keeps_to_its_preconditions(cluster: Cluster) -> None:
    obj = await cluster.create("a")
    path = f"{cluster.widgets}/a"
    for wrong in ({"uid": "another"}, {"resourceVersion": "1"}):
        answer = await cluster.send("DELETE", path, {"preconditions": wrong})
        assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    right = {"uid": obj["metadata"]["uid"], "resourceVersion": obj["metadata"]["resourceVersion"]}
    assert (await cluster.send("DELETE", path, {"preconditions": right})).status_code == 200


async def test_finalizers_hold_a_deleted_object_until_they_are_gone(cluster: Cluster) -> None:
    await cluster.create("a", finalizers=["x.dev/one", "x.dev/two"])
    path = f"{cluster.widgets}/a"
    marked = (await cluster.send("DELETE", path)).json()
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert marked["metadata"]["generation"] == 2
    again = (await cluster.send("DELETE", path)).json()
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
    refused = await cluster.patch("a", {"metadata": {"finalizers": ["x.dev/one", "x.dev/new"]}})
    assert (refused.status_code, causes(refused)) == (422, {("metadata.finalizers", "FieldValueForbidden")})
    await cluster.patched("a", {"metadata": {"finalizers": ["x.dev/two"]}})
    assert await cluster.exists(path)
    last = await cluster.patched("a", {"metadata": {"finalizers": None}})
    assert last["metadata"]["deletionTimestamp"]
    assert not await cluster.exists(path)


async def test_a_collection_is_deleted_by_selector(cluster: Cluster) -> None:
    for name, group in (("a", "x"), ("b", "x"), ("c", "y")):
        await cluster.create(name, labels={"g": group})
    answer = await cluster.send("DELETE", cluster.widgets, labelSelector="g=x")
    assert answer.json()["kind"] == "WidgetList"
    assert [item["metadata"]["name"] for item in answer.json()["items"]] == ["a", "b"]
    assert await cluster.names() == ["c"]


async def test_an_unknown_subresource_or_resource_is_not_found(cluster: Cluster) -> None:
    await cluster.create("a")
    for path in (f"{cluster.widgets}/a/nothing", f"/apis/{cluster.api_version}/nothings", "/apis/no.such.group/v1/x"):
        answer = await cluster.send("GET", path)
        assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
