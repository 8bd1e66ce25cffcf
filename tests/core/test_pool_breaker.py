"""How the launches of a pool stop when they fail, and how they begin again."""

from dataclasses import replace

import pytest

from controller.core.breaker import Breaker
from controller.core.members import Member, MemberState
from controller.core.plan import Create
from controller.core.pool import BackendHealth, PoolPlan, decide
from controller.model import BreakerState, PoolStatus
from tests.core.builders import NOW, at, condition, member, members, pool, seen_pool, waiting

FRAGILE = pool(minIdle=3, maxTotal=20, circuitBreaker={"failures": 2, "openSeconds": 60})
OPEN = Breaker(BreakerState.OPEN, 2, NOW, "no such program", NOW)


def died(name: str, *, lived: float | None = None) -> Member:
    """A crashed instance that was ready for so long; never, by default."""
    ready = None if lived is None else -lived
    return member(name, MemberState.CRASHED, ready=ready, trouble="no such program")


def launches(plan: PoolPlan) -> int:
    return sum(isinstance(action, Create) for action in plan.actions)


def status_of(plan: PoolPlan) -> PoolStatus:
    assert plan.status is not None
    return plan.status


def state_of(plan: PoolPlan) -> BreakerState:
    return Breaker.from_status(status_of(plan).circuit_breaker).state


def test_launches_that_fail_in_a_row_open_the_circuit_and_the_pool_says_why() -> None:
    plan = decide(seen_pool(FRAGILE, died("a"), died("b")), NOW)
    assert (launches(plan), state_of(plan), plan.look_again_in) == (0, BreakerState.OPEN, 60)
    degraded = condition(plan.status, "Degraded")
    assert (degraded.status, degraded.reason) == ("True", "CircuitOpen")
    assert degraded.message == "2 launches in a row failed, so launching is put off: no such program"


def test_one_failure_below_the_limit_is_shown_and_replaced() -> None:
    plan = decide(seen_pool(FRAGILE, died("a")), NOW)
    assert (launches(plan), state_of(plan)) == (3, BreakerState.CLOSED)
    degraded = condition(plan.status, "Degraded")
    assert (degraded.reason, degraded.message) == ("LaunchesFail", "no such program")


@pytest.mark.parametrize(
    ("lived", "counts"), [(29.0, True), (30.0, False)], ids=["soon after it was ready", "after it had proven itself"]
)
def test_an_instance_that_dies_counts_as_a_failed_launch_only_while_it_is_young(lived: float, counts: bool) -> None:
    plan = decide(seen_pool(FRAGILE, died("a", lived=lived)), NOW)
    assert (status_of(plan).circuit_breaker is not None) is counts


def test_a_claimed_instance_that_crashes_says_nothing_about_launches() -> None:
    crashed = member("a", MemberState.CRASHED, ready=-1, claimed=True, trouble="its owner broke it")
    assert status_of(decide(seen_pool(FRAGILE, crashed), NOW)).circuit_breaker is None


def test_an_open_circuit_keeps_claims_waiting() -> None:
    plan = decide(seen_pool(FRAGILE, breaker=OPEN, claims=(waiting("a"),)), at(10))
    assert (launches(plan), status_of(plan).waiting_claims, plan.look_again_in) == (0, 1, 50)


def test_after_the_pause_exactly_one_probe_is_launched() -> None:
    plan = decide(seen_pool(FRAGILE, breaker=OPEN), at(60))
    assert (launches(plan), state_of(plan)) == (1, BreakerState.HALF_OPEN)
    assert condition(plan.status, "Degraded").reason == "CircuitHalfOpen"
    probing = seen_pool(FRAGILE, member("probe", MemberState.STARTING, created=60), breaker=OPEN)
    assert launches(decide(probing, at(61))) == 0


def test_a_probe_that_hangs_is_not_all_that_is_tried_until_its_deadline() -> None:
    probing = seen_pool(FRAGILE, member("probe", MemberState.STARTING, created=60), breaker=OPEN)
    assert decide(probing, at(61)).look_again_in == 59
    assert launches(decide(probing, at(120))) == 1


def test_a_probe_that_dies_opens_the_circuit_again() -> None:
    half_open = OPEN.settle(FRAGILE.spec.circuit_breaker, [], at(60))
    plan = decide(seen_pool(FRAGILE, died("probe"), breaker=half_open), at(70))
    assert (launches(plan), state_of(plan), plan.look_again_in) == (0, BreakerState.OPEN, 60)


def test_a_probe_that_has_proven_itself_closes_the_circuit_and_the_rest_is_launched() -> None:
    half_open = OPEN.settle(FRAGILE.spec.circuit_breaker, [], at(60))
    proven = member("probe", ready=65)
    waiting_for_it = decide(seen_pool(FRAGILE, proven, breaker=half_open), at(66))
    assert (state_of(waiting_for_it), waiting_for_it.look_again_in) == (BreakerState.HALF_OPEN, 29)
    plan = decide(seen_pool(FRAGILE, proven, breaker=half_open), at(95))
    assert (launches(plan), status_of(plan).circuit_breaker) == (2, None)


def test_a_probe_that_was_claimed_proves_as_much_as_an_idle_one() -> None:
    half_open = OPEN.settle(FRAGILE.spec.circuit_breaker, [], at(60))
    plan = decide(seen_pool(FRAGILE, member("probe", MemberState.CLAIMED, ready=65), breaker=half_open), at(95))
    assert status_of(plan).circuit_breaker is None


def test_instances_that_were_idle_before_the_failures_do_not_close_it() -> None:
    plan = decide(seen_pool(FRAGILE, *members(2), breaker=OPEN), at(59))
    assert (launches(plan), state_of(plan)) == (0, BreakerState.OPEN)


def test_a_paused_pool_neither_counts_nor_replaces_what_crashed() -> None:
    paused = pool(minIdle=3, paused=True, circuitBreaker={"failures": 2})
    plan = decide(seen_pool(paused, died("a"), died("b")), NOW)
    assert (plan.actions, status_of(plan).circuit_breaker) == ((), None)


def test_an_instance_whose_deletion_failed_is_not_counted_as_a_second_failure() -> None:
    dead = died("a")
    first = decide(seen_pool(FRAGILE, dead), NOW)
    remembered = Breaker.from_status(status_of(first).circuit_breaker)
    seen = replace(seen_pool(FRAGILE, dead, breaker=remembered), counted=frozenset({dead.ref.uid}))
    assert state_of(decide(seen, NOW)) is BreakerState.CLOSED


def test_two_that_were_begun_together_count_as_two_failures_whichever_is_seen_first() -> None:
    late, early = died("late"), died("early")
    first = decide(seen_pool(FRAGILE, late), NOW)
    remembered = Breaker.from_status(status_of(first).circuit_breaker)
    seen = replace(seen_pool(FRAGILE, late, early, breaker=remembered), counted=frozenset({late.ref.uid}))
    assert state_of(decide(seen, NOW)) is BreakerState.OPEN


DOWN = BackendHealth(False, "BackendUnavailable", "the engine does not answer: start it")


def test_a_backend_that_is_down_opens_the_circuit_at_once() -> None:
    plan = decide(seen_pool(FRAGILE, backend=DOWN), NOW)
    assert (launches(plan), state_of(plan)) == (0, BreakerState.OPEN)
    degraded = condition(plan.status, "Degraded")
    assert (degraded.reason, degraded.message) == ("BackendUnavailable", DOWN.message)


def test_an_outage_that_goes_on_writes_nothing_more() -> None:
    first = decide(seen_pool(FRAGILE, backend=DOWN), NOW)
    breaker = Breaker.from_status(status_of(first).circuit_breaker)
    again = decide(seen_pool(FRAGILE, backend=DOWN, breaker=breaker), at(1000))
    assert status_of(again).circuit_breaker == status_of(first).circuit_breaker


def test_when_the_backend_is_back_launching_begins_at_once() -> None:
    breaker = Breaker.from_status(status_of(decide(seen_pool(FRAGILE, backend=DOWN), NOW)).circuit_breaker)
    plan = decide(seen_pool(FRAGILE, breaker=breaker), at(1))
    assert (launches(plan), status_of(plan).circuit_breaker) == (3, None)


def test_an_outage_does_not_excuse_the_failures_before_it() -> None:
    tripped = OPEN.tripped(DOWN.message, at(10))
    plan = decide(seen_pool(FRAGILE, breaker=tripped), at(20))
    assert (launches(plan), state_of(plan)) == (0, BreakerState.OPEN)


def test_what_died_with_its_engine_says_nothing_about_launches() -> None:
    young = died("a", lived=5), died("b", lived=5), died("c", lived=5)
    restarted = BackendHealth(since=at(-1))
    plan = decide(seen_pool(FRAGILE, *young, backend=restarted), NOW)
    assert (launches(plan), status_of(plan).circuit_breaker) == (3, None)


def test_what_was_made_after_the_outage_counts_again() -> None:
    restarted = BackendHealth(since=at(-500))
    plan = decide(seen_pool(FRAGILE, died("a"), died("b"), backend=restarted), NOW)
    assert state_of(plan) is BreakerState.OPEN
