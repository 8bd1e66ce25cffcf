"""What is done about the token of an instance, and when: never before anything that somebody waits for."""

from dataclasses import replace
from typing import Any

import pytest

from controller.core.instance import ClaimFact, ObservedInstance, ProbeFact, Timing, decide
from controller.core.plan import Launch, LearnToken, Probe, SettleToken
from controller.core.stages import Stage
from controller.core.tokens import TokenFact
from tests.core.builders import NOW, RUNNING, at, instance, ref

ONE = ref("one")
TIMING = Timing(check_seconds=30)
WELL = ProbeFact(at=NOW, ready=True)
HELD = ClaimFact(bound_at=at(-3), conversation_id="c-1", provisioned=True)
UNKNOWN = TokenFact()
TWO = TokenFact(known=True, unsettled=True, rotated=True)


def ready(phase: str = "Idle", **facts: Any) -> ObservedInstance:
    status = {"phase": phase, "readyAt": at(-100), "launchedAt": at(-110), "url": RUNNING.url, "backendId": "4711"}
    thing = instance(claim="wish" if phase != "Idle" else None, status=status)
    given: dict[str, Any] = {"remote": RUNNING, "probe": WELL} | facts
    return ObservedInstance(thing, TIMING, **given)


def claimed(**facts: Any) -> ObservedInstance:
    return ready("Claimed", **({"claim": HELD, "token": TWO} | facts))


def test_a_token_that_is_not_known_is_read() -> None:
    assert decide(ready(token=UNKNOWN), NOW).actions == (LearnToken(ONE),)


def test_it_is_read_although_the_backend_does_not_answer() -> None:
    assert decide(ready(token=UNKNOWN, remote=None, remote_known=False), NOW).actions == (LearnToken(ONE),)


def test_a_health_check_goes_first() -> None:
    assert decide(ready(token=UNKNOWN), at(31)).actions == (Probe(ONE, "http://127.0.0.1:9000"),)


def test_before_a_launch_there_is_none_to_be_read() -> None:
    fresh = ObservedInstance(instance(), TIMING, token=UNKNOWN)
    assert decide(fresh, NOW).actions == (Launch(ONE),)
    thing = instance(status={"phase": "Starting"})
    waiting = ObservedInstance(thing, TIMING, remote_known=False, token=UNKNOWN)
    assert decide(waiting, NOW).actions == ()


def test_what_could_not_be_read_is_tried_again_at_the_pace_of_checks() -> None:
    seen = ready(token=TokenFact(failed_at=NOW), probe=ProbeFact(at=at(20), ready=True))
    early = decide(seen, at(20))
    assert (early.actions, early.look_again_in) == ((), 10.0)
    assert decide(seen, at(30)).actions == (LearnToken(ONE),)


@pytest.mark.parametrize("rotated", [True, False, None])
def test_after_the_claim_its_secret_is_settled(rotated: bool | None) -> None:
    seen = claimed(token=replace(TWO, rotated=rotated))
    assert decide(seen, NOW).actions == (SettleToken(ONE, "http://127.0.0.1:9000"),)


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(claimed(token=replace(TWO, unsettled=False)), id="it is settled"),
        pytest.param(claimed(claim=replace(HELD, provisioned=False)), id="its claim still waits"),
        pytest.param(ready(token=TWO), id="nobody has it"),
    ],
)
def test_otherwise_nothing_is_done(seen: ObservedInstance) -> None:
    assert not any(isinstance(action, SettleToken) for action in decide(seen, NOW).actions)


@pytest.mark.parametrize(
    "remote",
    [
        pytest.param(None, id="that nobody sees"),
        pytest.param(replace(RUNNING, stage=Stage.SLEEPING), id="that sleeps"),
    ],
)
def test_one_that_would_have_to_be_asked_is_not_woken_for_it(remote: Any) -> None:
    unknown = claimed(remote=remote, remote_known=False, token=replace(TWO, rotated=None))
    assert decide(unknown, NOW).actions == ()
    known = claimed(remote=remote, remote_known=False)
    assert decide(known, NOW).actions == (SettleToken(ONE, "http://127.0.0.1:9000"),)
