"""What a pool says of itself: its counts, and the conditions that say why."""

from typing import Any

import pytest

from controller.core.members import Member, MemberState
from controller.core.pool import BackendHealth, ObservedPool, decide
from controller.model import AgentPool, PoolStatus
from tests.core.builders import NEW, NOW, OLD, at, condition, member, members, pool, seen_pool, waiting, with_status


def status_of(seen: ObservedPool) -> PoolStatus:
    status = decide(seen, NOW).status
    assert status is not None
    return status


def test_the_counts_cover_every_instance_once() -> None:
    present = (
        *members(4),
        *members(1, MemberState.SUSPECT),
        *members(2, MemberState.STARTING),
        *members(3, MemberState.CLAIMED),
        *members(1, MemberState.CRASHED),
        *members(2, MemberState.TERMINATING),
    )
    status = status_of(seen_pool(pool(minIdle=7, maxTotal=50), *present))
    counted = (status.idle, status.starting, status.claimed, status.crashed, status.terminating, status.total)
    assert counted == (5, 2, 3, 1, 2, 13)


def test_an_instance_that_is_being_bound_counts_as_claimed_and_its_claim_waits_no_more() -> None:
    status = status_of(seen_pool(pool(minIdle=2), *members(2), claims=(waiting("a"),)))
    assert (status.idle, status.claimed, status.waiting_claims) == (1, 1, 0)


def test_updated_counts_the_unclaimed_instances_of_the_current_template() -> None:
    present = (
        *members(2),
        *members(1, MemberState.STARTING),
        *members(3, template=OLD),
        *members(2, MemberState.CLAIMED),
    )
    assert status_of(seen_pool(pool(minIdle=6), *present)).updated == 3


def test_the_status_names_its_template_its_generation_and_the_selector_of_its_instances() -> None:
    status = status_of(seen_pool(pool()))
    assert (status.template_hash, status.observed_generation) == (NEW, 1)
    assert status.selector == "agentpool.dev/pool=helpers"
    assert {it.observed_generation for it in status.conditions} == {1}


def test_one_that_was_changed_at_its_backend_is_not_updated_and_is_being_replaced() -> None:
    status = status_of(seen_pool(pool(minIdle=2), member("a"), member("b", drift="somebody changed its source")))
    assert (status.idle, status.updated) == (2, 1)
    assert condition(status, "Progressing").reason == "RollingOut"


def test_what_ondelete_leaves_is_counted_in_words() -> None:
    left = (member("a", template=OLD), member("b", drift="somebody changed its source"), member("c"))
    progressing = condition(
        status_of(seen_pool(pool(minIdle=3, rollout={"strategy": "OnDelete"}), *left)), "Progressing"
    )
    assert (progressing.status, progressing.reason) == ("False", "AtRest")
    assert progressing.message == (
        "2 unclaimed instances are outdated or were changed at the backend, and are left until they are claimed or "
        "deleted, since rollout.strategy is OnDelete"
    )


@pytest.mark.parametrize(
    ("spec", "present", "holds", "reason"),
    [
        ({"minIdle": 0}, (), "True", "OnDemand"),
        ({"minIdle": 2}, members(2), "True", "Warm"),
        ({"minIdle": 2}, members(1), "True", "PartlyWarm"),
        ({"minIdle": 2}, members(2, MemberState.STARTING), "False", "Empty"),
        ({"minIdle": 2}, members(2, MemberState.CLAIMED), "False", "Empty"),
    ],
    ids=["on demand", "warm", "partly warm", "only starting", "all claimed"],
)
def test_ready_says_whether_a_claim_would_be_served(
    spec: dict[str, Any], present: tuple[Member, ...], holds: str, reason: str
) -> None:
    ready = condition(status_of(seen_pool(pool(**spec), *present)))
    assert (ready.status, ready.reason) == (holds, reason)


@pytest.mark.parametrize(
    ("spec", "present", "holds", "reason"),
    [
        ({"minIdle": 2}, members(2), "False", "AtRest"),
        ({"minIdle": 2}, members(1), "True", "ScalingUp"),
        ({"minIdle": 2}, members(3), "True", "ScalingDown"),
        ({"minIdle": 2}, members(2, template=OLD), "True", "RollingOut"),
        ({"minIdle": 2, "rollout": {"strategy": "OnDelete"}}, members(2, template=OLD), "False", "AtRest"),
        ({"minIdle": 2, "paused": True}, (), "False", "Paused"),
    ],
    ids=["at rest", "scaling up", "scaling down", "rolling out", "on delete", "paused"],
)
def test_progressing_says_what_is_going_on(
    spec: dict[str, Any], present: tuple[Member, ...], holds: str, reason: str
) -> None:
    progressing = condition(status_of(seen_pool(pool(**spec), *present)), "Progressing")
    assert (progressing.status, progressing.reason) == (holds, reason)


def test_an_unavailable_backend_degrades_the_pool_in_the_backends_own_words() -> None:
    down = BackendHealth(False, "BackendUnavailable", "the engine does not answer")
    status = status_of(seen_pool(pool(), *members(1), backend=down))
    available, degraded = condition(status, "BackendAvailable"), condition(status, "Degraded")
    assert (available.status, available.reason, available.message) == ("False", down.reason, down.message)
    assert (degraded.status, degraded.reason, degraded.message) == ("True", down.reason, down.message)


def test_a_start_that_is_held_up_is_named_before_it_fails() -> None:
    held_up = member("one", MemberState.STARTING, trouble="Secret keys does not exist in namespace default: create it")
    degraded = condition(status_of(seen_pool(pool(), held_up)), "Degraded")
    assert (degraded.reason, degraded.message) == ("LaunchBlocked", held_up.trouble)


def test_a_pool_that_maxtotal_keeps_from_its_size_says_how_much_is_missing() -> None:
    status = status_of(seen_pool(pool(minIdle=2, maxTotal=3), *members(3, MemberState.CLAIMED), claims=(waiting("a"),)))
    degraded = condition(status, "Degraded")
    assert (degraded.status, degraded.reason) == ("True", "Exhausted")
    assert degraded.message == "3 more are wanted than maxTotal allows: raise maxTotal or delete claims"


def test_a_pool_that_maxtotal_keeps_from_its_size_and_from_its_rollout_says_both() -> None:
    present = (*members(1, MemberState.CLAIMED), *members(2, template=OLD))
    degraded = condition(status_of(seen_pool(pool(minIdle=3, maxTotal=3), *present)), "Degraded")
    assert degraded.message.startswith("1 more are wanted than maxTotal allows: raise maxTotal or delete claims; ")
    assert "the rollout cannot go on" in degraded.message


def test_all_is_as_expected_in_a_pool_at_rest() -> None:
    degraded = condition(status_of(seen_pool(pool(minIdle=2), *members(2))), "Degraded")
    assert (degraded.status, degraded.reason, degraded.message) == ("False", "AsExpected", "")


def after(before: AgentPool, *present: Member, seconds: float) -> AgentPool:
    """The pool once the status that is decided then is written."""
    status = decide(seen_pool(before, *present), at(seconds)).status
    written: AgentPool = with_status(before, status)
    return written


def test_the_transition_time_moves_only_when_the_status_flips() -> None:
    empty = after(pool(minIdle=2), seconds=0)
    partly = after(empty, *members(1), seconds=10)
    warm = after(partly, *members(2), seconds=20)
    cold = after(warm, seconds=30)
    seen = [condition(it.status).last_transition_time for it in (empty, partly, warm, cold)]
    assert seen == [at(0), at(10), at(10), at(30)]
    assert [condition(it.status).reason for it in (empty, partly, warm, cold)] == [
        "Empty",
        "PartlyWarm",
        "Warm",
        "Empty",
    ]


def test_a_status_that_is_decided_again_later_is_the_same_status() -> None:
    settled = after(pool(minIdle=2), *members(2), seconds=0)
    assert after(settled, *members(2), seconds=600) == settled
