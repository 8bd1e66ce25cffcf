"""What follows a deletion through owner references."""

from typing import Any

import pytest

from tests.cluster.conftest import Cluster, eventually


@pytest.fixture(autouse=True)
def _collector(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server has no garbage collector")


def _owned_by(cluster: Cluster, *owners: dict[str, Any], block: bool = False) -> list[dict[str, Any]]:
    return [
        {
            "apiVersion": cluster.api_version,
            "kind": "Widget",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            **({"blockOwnerDeletion": True} if block else {}),
        }
        for owner in owners
    ]


async def _left(cluster: Cluster, *names: str) -> None:
    async def are_left() -> bool:
        return await cluster.names() == sorted(names)

    await eventually(are_left)


async def test_dependents_follow_their_owner_down_the_generations(cluster: Cluster) -> None:
    owner = await cluster.create("owner")
    child = await cluster.create("child", ownerReferences=_owned_by(cluster, owner))
    await cluster.create("grandchild", ownerReferences=_owned_by(cluster, child))
    await cluster.create("stranger")
    await cluster.send("DELETE", f"{cluster.widgets}/owner")
    await _left(cluster, "stranger")


async def test_a_dependent_of_two_stays_for_the_other(cluster: Cluster) -> None:
    one, two = await cluster.create("one"), await cluster.create("two")
    await cluster.create("child", ownerReferences=_owned_by(cluster, one, two))
    await cluster.send("DELETE", f"{cluster.widgets}/one")

    async def the_gone_owner_is_forgotten() -> bool:
        owners = (await cluster.get("child"))["metadata"]["ownerReferences"]
        return [owner["name"] for owner in owners] == ["two"]

    await eventually(the_gone_owner_is_forgotten)
    await cluster.send("DELETE", f"{cluster.widgets}/two")
    await _left(cluster)


async def test_orphaned_dependents_stay_and_forget_their_owner(cluster: Cluster) -> None:
    owner = await cluster.create("owner")
    await cluster.create("child", ownerReferences=_owned_by(cluster, owner))
    await cluster.send("DELETE", f"{cluster.widgets}/owner", {"propagationPolicy": "Orphan"})
    await _left(cluster, "child")
    assert "ownerReferences" not in (await cluster.get("child"))["metadata"]


async def test_in_the_foreground_the_owner_goes_last(cluster: Cluster) -> None:
    owner = await cluster.create("owner")
    await cluster.create("child", ownerReferences=_owned_by(cluster, owner, block=True), finalizers=["x.dev/y"])
    answer = await cluster.send("DELETE", f"{cluster.widgets}/owner", {"propagationPolicy": "Foreground"})
    assert answer.json()["metadata"]["finalizers"] == ["foregroundDeletion"]

    async def the_child_is_being_deleted() -> bool:
        return "deletionTimestamp" in (await cluster.get("child"))["metadata"]

    await eventually(the_child_is_being_deleted)
    assert await cluster.names() == ["child", "owner"]
    await cluster.patched("child", {"metadata": {"finalizers": None}})
    await _left(cluster)


async def test_a_dependent_of_an_owner_that_never_was_is_removed(cluster: Cluster) -> None:
    ghost = {"metadata": {"name": "ghost", "uid": "00000000-0000-0000-0000-000000000000"}}
    await cluster.create("child", ownerReferences=_owned_by(cluster, ghost))
    await _left(cluster)


async def test_an_owner_of_an_unknown_kind_is_not_held_to_be_gone(cluster: Cluster) -> None:
    unknown = [{"apiVersion": "no.such.group/v1", "kind": "Nothing", "name": "n", "uid": "u"}]
    await cluster.create("child", ownerReferences=unknown)
    owner = await cluster.create("owner")
    await cluster.create("other", ownerReferences=_owned_by(cluster, owner))
    await cluster.send("DELETE", f"{cluster.widgets}/owner")
    await _left(cluster, "child")
