"""What becomes of an instance that somebody changed at its backend."""

from dataclasses import replace
from typing import Any

import pytest

from controller.core.instance import ClaimFact, ObservedInstance, ProbeFact, decide
from controller.core.stages import Stage
from controller.model import InstanceStatus, condition_of
from tests.core.builders import NOW, RAILWAY, RUNNING, at, condition, instance, with_status

DRIFT = "somebody changed the variable MODEL at Railway"
CHANGED = replace(RUNNING, drift=DRIFT)
WELL = ProbeFact(at=NOW, ready=True)
BOUND = ClaimFact(bound_at=at(-3), conversation_id="c-1", provisioned=True)


def seen(phase: str = "Idle", *, held_by: str | None = None, **facts: Any) -> ObservedInstance:
    status = {"phase": phase, "readyAt": at(-100), "launchedAt": at(-110), "url": RUNNING.url, "backendId": "4711"}
    known: dict[str, Any] = {"probe": WELL, "remote": CHANGED, "first_seen_at": NOW} | facts
    return ObservedInstance(instance=instance(claim=held_by, backend=RAILWAY, status=status), **known)


def claimed(**facts: Any) -> ObservedInstance:
    return seen("Claimed", held_by="wish", **({"claim": BOUND} | facts))


def status_of(found: ObservedInstance, seconds: float = 0) -> InstanceStatus:
    status = decide(found, at(seconds)).status
    assert status is not None
    return status


def written(found: ObservedInstance, seconds: float = 0) -> ObservedInstance:
    return replace(found, instance=with_status(found.instance, status_of(found, seconds)))


@pytest.mark.parametrize(
    ("found", "consequence"),
    [
        (seen(), "it is replaced like an outdated one"),
        (
            seen(replaced_on_delete=True),
            "it is left until it is claimed or deleted, since its pool's rollout.strategy is OnDelete",
        ),
        (seen(held_by="wish", claim=ClaimFact()), "it belongs to a claim, so it is left as it is"),
        (claimed(), "it belongs to a claim, so it is left as it is"),
    ],
    ids=["idle", "idle, replaced on delete", "being bound", "claimed"],
)
def test_it_says_what_was_changed_and_what_comes_of_it(found: ObservedInstance, consequence: str) -> None:
    drifted = condition(status_of(found), "Drifted")
    assert (drifted.status, drifted.reason, drifted.message) == ("True", "Drifted", f"{DRIFT}; {consequence}")


@pytest.mark.parametrize("found", [seen(), claimed()], ids=["idle", "claimed"])
def test_it_is_as_ready_as_it_was_and_nothing_is_done_to_it(found: ObservedInstance) -> None:
    plan = decide(found, NOW)
    assert plan.actions == ()
    assert plan.status is not None
    assert (plan.status.phase, condition(plan.status).status) == (found.instance.status.phase, "True")


def test_it_is_announced_once() -> None:
    first = decide(claimed(), NOW)
    assert [(note.type, note.reason) for note in first.notes] == [("Warning", "Drifted")]
    assert DRIFT in first.notes[0].message
    again = decide(written(claimed()), at(5))
    assert (again.notes, again.status) == ((), status_of(claimed()))


def test_another_change_is_told_without_another_transition() -> None:
    other = replace(written(claimed()), remote=replace(CHANGED, drift="somebody changed its source at Railway"))
    drifted = condition(status_of(other, 10), "Drifted")
    assert (drifted.last_transition_time, drifted.message.partition(";")[0]) == (
        NOW,
        other.remote and other.remote.drift,
    )


def test_one_that_was_never_changed_bears_no_such_condition() -> None:
    assert [it.type for it in status_of(seen(remote=RUNNING)).conditions] == ["Ready"]


def test_one_that_was_put_right_says_so_and_goes_on_saying_so() -> None:
    restored = written(replace(written(claimed()), remote=RUNNING), 10)
    drifted = condition(restored.instance.status, "Drifted")
    assert (drifted.status, drifted.reason, drifted.last_transition_time) == ("False", "Restored", at(10))
    assert status_of(restored, 20) == restored.instance.status


@pytest.mark.parametrize(
    "facts",
    [{"remote": None, "remote_known": False}, {"remote": replace(RUNNING, stage=Stage.UNKNOWN)}],
    ids=["its backend cannot be read", "its stage is not understood"],
)
def test_while_nothing_certain_is_known_what_was_known_stands(facts: dict[str, Any]) -> None:
    before = written(claimed())
    assert condition_of(status_of(replace(before, **facts), 10).conditions, "Drifted") == condition(
        before.instance.status, "Drifted"
    )


def test_one_that_is_still_begun_is_not_yet_what_it_is_made_as() -> None:
    building = replace(CHANGED, stage=Stage.BUILDING, since=NOW)
    starting = ObservedInstance(instance(created=0, backend=RAILWAY), remote=building)
    assert [it.type for it in status_of(starting).conditions] == ["Ready"]


def test_its_crash_keeps_the_word_on_its_change() -> None:
    plan = decide(claimed(remote=replace(CHANGED, exited="its program crashed")), NOW)
    assert plan.status is not None
    assert {it.type: it.status for it in plan.status.conditions} == {"Ready": "False", "Drifted": "True"}
    assert [note.reason for note in plan.notes] == ["Exited", "Drifted"]
