"""How an instance rests while nobody has it, wakes for its checks and its claim, and shows whose it is."""

from dataclasses import replace
from typing import Any

import pytest

from controller.core.instance import ClaimFact, ObservedInstance, ProbeFact, Timing, decide
from controller.core.plan import Pause, Probe, Rename, Resume
from tests.core.builders import NOW, RUNNING, at, instance, ref, with_status

ONE = ref("one")
PAUSING = Timing(check_seconds=30, pause_idle=True)
FROZEN = replace(RUNNING, paused=True)
NAMELESS = replace(RUNNING, anonymous=True)
WELL = ProbeFact(at=NOW, ready=True)
BOUND = ClaimFact(bound_at=NOW, conversation_id="c-1", provisioned=True)


def at_rest(found: ObservedInstance) -> ObservedInstance:
    """With the status that the decision would write, so that only its actions are left."""
    written = decide(found, NOW).status
    return replace(found, instance=with_status(found.instance, written))


def seen(phase: str = "Idle", *, held_by: str | None = None, **facts: Any) -> ObservedInstance:
    status = {"phase": phase, "readyAt": at(-100), "launchedAt": at(-110), "url": RUNNING.url, "backendId": "4711"}
    known: dict[str, Any] = {"timing": PAUSING, "probe": WELL, "remote": RUNNING} | facts
    return at_rest(ObservedInstance(instance=instance(claim=held_by, status=status), **known))


def claimed(**facts: Any) -> ObservedInstance:
    return seen("Claimed", held_by="wish", **({"claim": BOUND} | facts))


class TestRest:
    def test_an_idle_instance_that_was_seen_well_is_paused(self) -> None:
        assert decide(seen(), NOW).actions == (Pause(ONE),)

    def test_a_paused_one_rests_until_its_next_check(self) -> None:
        plan = decide(seen(remote=FROZEN), at(10))
        assert (plan.actions, plan.look_again_in) == ((), 20)

    @pytest.mark.parametrize(
        "facts",
        [
            {"timing": Timing(check_seconds=30)},
            {"probe": None, "first_seen_at": NOW},
            {"probe": ProbeFact(at=NOW, ready=False, failures=1)},
            {"remote": None, "remote_known": False},
        ],
        ids=["the pool keeps it running", "it was not seen well yet", "it is suspect", "its backend was not heard of"],
    )
    def test_an_instance_is_not_paused_while(self, facts: dict[str, Any]) -> None:
        assert not any(isinstance(action, Pause) for action in decide(seen(**facts), NOW).actions)

    def test_a_claimed_instance_is_never_paused(self) -> None:
        assert decide(claimed(), NOW).actions == ()

    def test_one_that_a_claim_took_but_does_not_serve_yet_is_never_paused(self) -> None:
        assert decide(seen(held_by="wish", claim=ClaimFact()), NOW).actions == ()


class TestWaking:
    def test_a_check_that_is_due_wakes_it_first(self) -> None:
        assert decide(seen(remote=FROZEN), at(30)).actions == (Resume(ONE),)

    def test_once_awake_it_is_checked(self) -> None:
        assert decide(seen(), at(30)).actions == (Probe(ONE, RUNNING.url or ""),)

    def test_one_that_a_claim_took_is_woken_at_once(self) -> None:
        assert decide(seen(held_by="wish", claim=ClaimFact(), remote=FROZEN), NOW).actions == (Resume(ONE),)

    def test_a_claimed_one_that_somebody_froze_is_woken(self) -> None:
        assert decide(claimed(remote=FROZEN), NOW).actions == (Resume(ONE),)

    def test_it_is_woken_when_its_pool_pauses_no_more(self) -> None:
        assert decide(seen(remote=FROZEN, timing=Timing(check_seconds=30)), NOW).actions == (Resume(ONE),)

    def test_one_that_was_frozen_while_it_started_is_woken(self) -> None:
        starting = ObservedInstance(instance=instance(created=0), remote=FROZEN, timing=PAUSING)
        assert decide(starting, NOW).actions == (Resume(ONE),)


class TestName:
    def test_a_claimed_remote_shows_whose_it_is(self) -> None:
        assert decide(claimed(remote=NAMELESS), NOW).actions == (Rename(ONE, "Ada"),)

    def test_it_is_renamed_only_once(self) -> None:
        assert decide(claimed(), NOW).actions == ()

    def test_an_idle_one_keeps_the_name_that_it_was_made_with(self) -> None:
        assert decide(seen(remote=NAMELESS, timing=Timing(check_seconds=30)), NOW).actions == ()

    def test_a_claim_that_is_not_bound_yet_waits_for_no_name(self) -> None:
        assert decide(seen(held_by="wish", claim=ClaimFact(), remote=NAMELESS), NOW).actions == ()
