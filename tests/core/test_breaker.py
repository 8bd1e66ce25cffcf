"""The circuit breaker on launches."""

from datetime import datetime

import pytest

from controller.core.breaker import PROVEN_SECONDS, Breaker
from controller.model import BreakerState
from controller.model.pool import CircuitBreaker
from tests.core.builders import NOW, at

SPEC = CircuitBreaker(failures=3, open_seconds=60)


def failed(times: int, now: datetime = NOW) -> Breaker:
    breaker = Breaker()
    for number in range(times):
        breaker = breaker.failed(SPEC, f"failure {number + 1}", now)
    return breaker


def test_fewer_failures_than_the_limit_leave_it_closed() -> None:
    assert failed(2).settle(SPEC, [], NOW).state is BreakerState.CLOSED
    assert failed(2).allowance(5) == 5


def test_the_failure_that_reaches_the_limit_opens_it_and_nothing_is_launched() -> None:
    breaker = failed(3).settle(SPEC, [], NOW)
    assert breaker.state is BreakerState.OPEN
    assert breaker.allowance(5) == 0
    assert breaker.last_failure == "failure 3"


def test_while_it_is_open_it_names_the_end_of_the_pause_as_its_next_change() -> None:
    assert failed(3).settle(SPEC, [], at(20)).changes_in(at(20)) == 40


def test_after_the_pause_it_is_half_open_and_lets_one_launch_through() -> None:
    breaker = failed(3).settle(SPEC, [], at(60))
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.allowance(5) == 1
    assert breaker.allowance(0) == 0


@pytest.mark.parametrize(
    ("starting", "now", "allowed", "changes_in"),
    [
        ([61], 120, 0, 1),
        ([61], 121, 1, None),
        ([61, 121], 240, 0, 1),
        ([61, 121], 241, 1, None),
        ([61, 121, 241], 9999, 0, None),
    ],
    ids=["the first probe", "after a pause", "two probes", "after two pauses", "as many as open it"],
)
def test_while_probes_are_undecided_another_one_follows_after_longer_and_longer_pauses(
    starting: list[int], now: int, allowed: int, changes_in: int | None
) -> None:
    breaker = failed(3).settle(SPEC, [], at(now), starting_since=[at(each) for each in starting])
    assert (breaker.allowance(5), breaker.changes_in(at(now))) == (allowed, changes_in)


def test_a_failed_probe_opens_it_again_for_the_whole_pause() -> None:
    again = failed(3).settle(SPEC, [], at(60)).failed(SPEC, "the probe died", at(70))
    assert again.settle(SPEC, [], at(129)).state is BreakerState.OPEN
    assert again.settle(SPEC, [], at(130)).state is BreakerState.HALF_OPEN


def test_a_launch_after_the_last_failure_closes_it_once_it_has_lived_long_enough() -> None:
    half_open = failed(3).settle(SPEC, [], at(60))
    ready = at(65)
    waiting = half_open.settle(SPEC, [ready], at(70))
    assert waiting.state is BreakerState.HALF_OPEN
    assert waiting.changes_in(at(70)) == PROVEN_SECONDS - 5
    assert half_open.settle(SPEC, [ready], at(65 + PROVEN_SECONDS)) == Breaker()


def test_instances_that_were_ready_before_the_last_failure_prove_nothing() -> None:
    assert failed(3).settle(SPEC, [at(-1), NOW], at(59)).state is BreakerState.OPEN


def test_an_open_one_closes_when_a_launch_proves_itself_before_the_pause_is_over() -> None:
    breaker = failed(3).settle(SPEC, [at(1)], at(2))
    assert breaker.changes_in(at(2)) == PROVEN_SECONDS - 1
    assert breaker.settle(SPEC, [at(1)], at(1 + PROVEN_SECONDS)) == Breaker()


def test_a_proven_launch_forgets_failures_below_the_limit() -> None:
    assert failed(2).settle(SPEC, [at(1)], at(1 + PROVEN_SECONDS)) == Breaker()


@pytest.mark.parametrize("failures", [1, 3], ids=["closed", "open"])
def test_a_later_controller_goes_on_where_the_status_says(failures: int) -> None:
    breaker = failed(failures)
    assert Breaker.from_status(breaker.status()) == breaker


def test_nothing_is_shown_while_all_is_well() -> None:
    assert Breaker().status() is None
    assert Breaker.from_status(None) == Breaker()
