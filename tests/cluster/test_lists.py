"""Selecting and paging."""

import pytest

from tests.cluster.conftest import Cluster

SELECTORS = {
    "x=a": ["a"],
    "x==a": ["a"],
    "x!=a": ["b", "c", "d"],
    "x in (a,b)": ["a", "b"],
    "x notin (a,b)": ["c", "d"],
    "x": ["a", "b", "c"],
    "!x": ["d"],
    "x=a,n=1": ["a"],
    "n>1": ["b", "c"],
    "n<2": ["a"],
    " x in ( a , c ) ": ["a", "c"],
    "x=": [],
    "x notin (a),n": ["b", "c"],
}


async def _four(cluster: Cluster) -> None:
    for number, name in enumerate("abc", 1):
        color = "red" if number < 3 else "blue"
        await cluster.create(name, {"color": color}, labels={"x": name, "n": str(number)})
    await cluster.create("d", {"color": "blue"})


async def test_label_selectors_choose(cluster: Cluster) -> None:
    await _four(cluster)
    found = {selector: await cluster.names(labelSelector=selector) for selector in SELECTORS}
    assert found == SELECTORS


@pytest.mark.parametrize("selector", ["x in (a", "=a", "a b", "x>y"])
async def test_a_label_selector_that_cannot_be_read_is_a_bad_request(cluster: Cluster, selector: str) -> None:
    answer = await cluster.send("GET", cluster.widgets, labelSelector=selector)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")


async def test_field_selectors_choose(cluster: Cluster) -> None:
    await _four(cluster)
    assert await cluster.names(fieldSelector="metadata.name=a") == ["a"]
    assert await cluster.names(fieldSelector="metadata.name!=a") == ["b", "c", "d"]
    assert await cluster.names(fieldSelector=f"metadata.namespace={cluster.namespace}") == ["a", "b", "c", "d"]
    assert await cluster.names(fieldSelector="spec.color=red") == ["a", "b"]
    assert await cluster.names(fieldSelector="spec.color=red,metadata.name=b") == ["b"]


@pytest.mark.parametrize("selector", ["spec.note=1", "status.phase=x", "foo"])
async def test_a_field_that_is_not_selectable_is_a_bad_request(cluster: Cluster, selector: str) -> None:
    answer = await cluster.send("GET", cluster.widgets, fieldSelector=selector)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")


async def test_a_list_over_all_namespaces_is_ordered_and_complete(cluster: Cluster) -> None:
    await _four(cluster)
    items = (await cluster.send("GET", cluster.everywhere)).json()["items"]
    places = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items]
    assert places == sorted(places)
    assert {(cluster.namespace, name) for name in "abcd"} <= set(places)


async def test_pages_together_are_the_list_as_it_was_at_the_first_page(cluster: Cluster) -> None:
    await _four(cluster)
    first = (await cluster.send("GET", cluster.widgets, limit="2")).json()
    assert first["metadata"]["remainingItemCount"] == 2
    await cluster.send("DELETE", f"{cluster.widgets}/c")
    await cluster.create("cc")
    await cluster.patched("d", {"spec": {"color": "green"}})
    second = (
        await cluster.send("GET", cluster.widgets, limit="2", **{"continue": first["metadata"]["continue"]})
    ).json()
    assert [item["metadata"]["name"] for item in first["items"] + second["items"]] == ["a", "b", "c", "d"]
    assert second["items"][1]["spec"]["color"] == "blue"
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert not second["metadata"].get("continue")
    assert await cluster.names() == ["a", "b", "cc", "d"]


async def test_a_list_can_be_asked_for_as_it_was(cluster: Cluster) -> None:
    created = await cluster.create("a")
    rv = created["metadata"]["resourceVersion"]
    await cluster.create("b")
    assert await cluster.names(resourceVersion=rv, resourceVersionMatch="Exact") == ["a"]
    assert await cluster.names(resourceVersion=rv, resourceVersionMatch="NotOlderThan") == ["a", "b"]
    assert await cluster.names(resourceVersion="0") == ["a", "b"]


async def test_a_resource_version_from_the_future_is_answered_with_a_timeout(cluster: Cluster) -> None:
    answer = await cluster.send("GET", cluster.widgets, resourceVersion="99999999")
    assert (answer.status_code, answer.json()["reason"]) == (504, "Timeout")
    assert answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize(
    "params",
    [{"limit": "x"}, {"continue": "zzz"}, {"resourceVersion": "abc"}],
    ids=["limit", "continue", "resourceVersion"],
)
async def test_a_list_parameter_that_cannot_be_read_is_a_bad_request(cluster: Cluster, params: dict[str, str]) -> None:
    answer = await cluster.send("GET", cluster.widgets, **params)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")


async def test_a_list_names_its_kind_and_version(cluster: Cluster) -> None:
    answer = (await cluster.send("GET", cluster.widgets)).json()
    assert (answer["apiVersion"], answer["kind"], answer["items"]) == (cluster.api_version, "WidgetList", [])
    assert int(answer["metadata"]["resourceVersion"]) > 0
