"""The benchmark's own judgement: what it must notice, and how it counts."""

from collections import Counter
from copy import deepcopy
from typing import Any

import pytest

from tests.bench.claims import SeenClaim, latencies
from tests.bench.figures import Request, Result, Snapshot, Window, counters, percentile, summarized
from tests.bench.verdict import faults, leaks
from tests.bench.world import World

MAX_TOTAL = 2


def event(phase: str, instance: str | None = None, conversation: str | None = None, **metadata: str) -> dict[str, Any]:
    status = {"phase": phase, "instance": instance, "conversationId": conversation}
    return {"type": "MODIFIED", "object": {"metadata": {"uid": "claim-uid", **metadata}, "status": status}}


def bound_claim(name: str, uid: str, instance: str, conversation: str) -> SeenClaim:
    return SeenClaim(
        name, due_at=0.0, uid=uid, phase="Bound", bound_at=1.0, instance=instance, conversation=conversation
    )


def stored(*claims: str | None) -> list[dict[str, Any]]:
    return [{"spec": {"claimRef": {"name": name}} if name else {}} for name in claims]


def a_right_outcome() -> tuple[list[SeenClaim], dict[str, Any]]:
    world = World()
    for uid in ("uid-a", "uid-b"):
        world.launch(uid, uid.replace("uid", "instance"))
    world.provision("uid-a", "key-1")
    world.provision("uid-b", "key-2")
    claims = [
        bound_claim("claim-1", "key-1", "instance-a", "conversation-1"),
        bound_claim("claim-2", "key-2", "instance-b", "conversation-2"),
    ]
    return claims, world.ledger()


def test_an_outcome_without_fault_is_called_right() -> None:
    claims, ledger = a_right_outcome()
    assert faults(claims, ledger, stored("claim-1", "claim-2"), MAX_TOTAL) == []


def test_a_claim_that_was_never_bound_is_noticed() -> None:
    claims, ledger = a_right_outcome()
    claims.append(SeenClaim("claim-3", due_at=0.0))
    assert faults(claims, ledger, [], MAX_TOTAL) == ["1 claims were never Bound: claim-3"]


def test_a_second_key_at_an_instance_is_noticed_although_it_was_refused() -> None:
    world = World()
    world.launch("uid-a", "instance-a")
    world.provision("uid-a", "key-1")
    status, _ = world.provision("uid-a", "key-2")
    assert status == 409
    assert faults([], world.ledger(), [], MAX_TOTAL) == ["1 instances were given to two claims: instance-a"]


def test_two_claims_that_name_one_instance_are_noticed() -> None:
    claims, ledger = a_right_outcome()
    claims[1].instance = "instance-a"
    assert "1 instances were given to two claims: instance-a" in faults(claims, ledger, [], MAX_TOTAL)


def test_a_key_with_conversations_at_two_instances_is_noticed() -> None:
    world = World()
    for uid in ("uid-a", "uid-b"):
        world.launch(uid, uid)
        world.provision(uid, "key-1")
    assert faults([], world.ledger(), [], MAX_TOTAL) == ["1 claims have two conversations: key-1"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("conversation", "conversation-9"), ("conversation", None), ("instance", "instance-9"), ("uid", "key-9")],
)
def test_a_bound_claim_that_its_instance_does_not_know_is_noticed(field: str, value: str | None) -> None:
    claims, ledger = a_right_outcome()
    setattr(claims[0], field, value)
    assert faults(claims, ledger, [], MAX_TOTAL) == ["1 Bound claims have no conversation at their instance: claim-1"]


def test_a_claim_that_two_stored_instances_refer_to_is_noticed() -> None:
    claims, ledger = a_right_outcome()
    found = faults(claims, ledger, stored("claim-1", "claim-1", None), max_total=3)
    assert found == ["1 claims own two instances: claim-1"]


def test_more_instances_than_max_total_are_noticed_in_the_world_and_in_the_store() -> None:
    claims, ledger = a_right_outcome()
    assert faults(claims, ledger, stored("claim-1", "claim-2"), max_total=1) == [
        "2 instances ran at the same time, maxTotal is 1",
        "2 AgentInstances existed, maxTotal is 1",
    ]


def test_an_instance_that_outlives_its_pool_is_noticed() -> None:
    world = World()
    for uid in ("uid-a", "uid-b"):
        world.launch(uid, uid)
    world.end("uid-a")
    assert leaks(world.ledger()) == ["1 instances still run although their pool is gone: uid-b"]


def test_a_launch_or_provision_that_is_repeated_changes_nothing() -> None:
    world = World()
    world.launch("uid-a", "instance-a")
    first = world.provision("uid-a", "key-1")
    before = deepcopy(world.ledger())
    world.launch("uid-a", "instance-a")
    assert world.provision("uid-a", "key-1") == first
    assert world.ledger() == before


def test_a_launch_that_is_repeated_after_the_end_brings_nothing_back() -> None:
    world = World()
    world.launch("uid-a", "instance-a")
    world.end("uid-a")
    world.launch("uid-a", "instance-a")
    assert world.running() == []


def test_the_time_until_bound_counts_from_when_the_claim_was_due() -> None:
    claim = SeenClaim("claim-1", due_at=10.0, posted_at=10.5)
    claim.learn(10.75, event("Binding", "instance-a"))
    claim.learn(11.0, event("Bound", "instance-a", "conversation-1"))
    assert (claim.milliseconds, claim.writes_to_bound, claim.rebound) == (1000.0, 2, False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (event("Binding", "instance-a"), event("Bound", "instance-b", "conversation-1")),
        (event("Bound", "instance-a", "conversation-1"), event("Bound", "instance-b", "conversation-1")),
        (event("Bound", "instance-a", "conversation-1"), event("Bound", "instance-a", "conversation-2")),
        (event("Bound", "instance-a", "conversation-1"), event("Failed", "instance-a", "conversation-1")),
    ],
    ids=["moved while binding", "moved when bound", "another conversation", "failed when bound"],
)
def test_a_claim_that_changes_its_mind_is_noticed(first: dict[str, Any], second: dict[str, Any]) -> None:
    claim = SeenClaim("claim-1", due_at=0.0)
    claim.learn(1.0, first)
    claim.learn(2.0, second)
    assert faults([claim], {"peak": 0, "instances": []}, [], MAX_TOTAL)[-2:][0].startswith(
        "1 claims were moved or changed"
    )


def test_what_happens_to_a_claim_after_its_deletion_is_no_fault() -> None:
    claim = SeenClaim("claim-1", due_at=0.0)
    claim.learn(1.0, event("Bound", "instance-a", "conversation-1"))
    claim.learn(2.0, event("Released", deletionTimestamp="2026-01-01T00:00:00Z"))
    assert not claim.rebound


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100), (0.001, 1)], ids=str)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


EXPOSITION = """\
# TYPE agentpool_api_requests_total counter
agentpool_api_requests_total{code="200",resource="agentclaims",subresource="status",verb="patch"} 7.0
agentpool_api_requests_total{code="409",resource="agentinstances",subresource="",verb="patch"} 2.0
agentpool_api_requests_total{code="200",resource="agentclaims",subresource="",verb="list"} 3.0
# TYPE agentpool_passes_total counter
agentpool_passes_total{kind="pool",outcome="done"} 4.0
# TYPE agentpool_queue_depth gauge
agentpool_queue_depth 5.0
"""


def snapshot(at: float, requests: Counter[Request], passes: Counter[str], busy: float = 0.0) -> Snapshot:
    return Snapshot(at, {"controller": at / 2}, busy, requests, passes)


def test_writes_and_reads_are_counted_apart_and_refused_ones_are_marked() -> None:
    requests, passes = counters(EXPOSITION)
    window = Window.between(snapshot(0.0, Counter(), Counter()), snapshot(2.0, requests, passes, busy=4.0))
    assert window.by_name(writes=True) == {"patch agentclaims/status": 7, "patch agentinstances (409)": 2}
    assert window.by_name(writes=False) == {"list agentclaims": 3}
    assert (window.writes(), window.writes("agentclaims"), passes) == (9, 7, {"pool done": 4})


def test_what_the_machine_did_besides_is_told_in_cores() -> None:
    empty = snapshot(0.0, Counter(), Counter())
    assert Window.between(empty, snapshot(2.0, Counter(), Counter(), busy=4.0)).other_cores == 1.5


def test_runs_are_summarized_by_their_medians_and_by_everything_that_went_wrong() -> None:
    runs = [
        Result("serial", {"p50": 1.0}),
        Result("serial", {"p50": 9.0}, faults=["a fault"]),
        Result("serial", {"p50": 2.0}, unfinished="no answer"),
    ]
    summary = summarized(runs)
    assert (summary.figures, summary.faults, summary.unfinished) == ({"p50": 2.0}, ["a fault"], "no answer")


def test_latencies_are_those_of_the_claims_that_were_bound() -> None:
    claims = [SeenClaim("claim-1", due_at=1.0, bound_at=1.25), SeenClaim("claim-2", due_at=1.0)]
    assert latencies(claims, {"p50": 0.5, "max": 1.0}) == {"p50": 250.0, "max": 250.0}
    assert latencies(claims[1:], {"p50": 0.5}) == {}
