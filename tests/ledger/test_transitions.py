"""What is read off two states: the same facts for everybody, however few of the states they saw."""

from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.transitions import Record, Subject, Transition, derive
from tests.core.builders import NOW, at, claim, instance
from tests.ledger.lives import Life, claim_life, instance_life

READY: dict[str, Any] = {"phase": "Idle", "launchedAt": at(-20), "readyAt": at(-10)}


def told(before: Subject | None, after: Subject | None) -> list[str]:
    return [record.transition + (f"/{record.ordinal}" if record.ordinal else "") for record in derive(before, after)]


def unready(reason: str, since: float = 0) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "False", "reason": reason, "lastTransitionTime": at(since)}
    return {"conditions": [condition], "message": f"because of {reason}"}


def crash(since: float = 0) -> dict[str, Any]:
    return READY | {"phase": "Crashed"} | unready("Exited", since)


def crashed_at(since: float) -> str:
    return f"Crashed/{at(since).isoformat()}"


NEW = instance()
LAUNCHED = instance(status={"phase": "Starting", "launchedAt": at(-20)})
IDLE = instance(status=READY)
GIVEN = instance(status=READY, claim="wish")
CLAIMED = instance(status=READY | {"phase": "Claimed", "claimedAt": at(1)}, claim="wish")
DEAD = instance(status={"phase": "Crashed"} | unready("Exited"))
ASKED = claim()
FAILED = claim(status={"phase": "Failed"})
BOUND = claim(status={"phase": "Bound", "boundAt": at(2), "instance": "one", "inviteUrl": "https://canary"})
ALL_OF_AN_INSTANCE = ["Created", "Launched", "Ready", "Bound", "Claimed"]


@pytest.mark.parametrize(
    ("sentence", "before", "after", "expected"),
    [
        ("an instance appears", None, NEW, ["Created"]),
        ("its backend took it on", NEW, LAUNCHED, ["Launched"]),
        ("it is ready", LAUNCHED, IDLE, ["Ready"]),
        ("it is given to a claim", IDLE, GIVEN, ["Bound"]),
        ("it took up its conversation", GIVEN, CLAIMED, ["Claimed"]),
        ("it crashes", IDLE, instance(status=crash()), [crashed_at(0)]),
        ("it crashes again", instance(status=crash(0)), instance(status=crash(50)), [crashed_at(50)]),
        ("it crashed before it was ready", LAUNCHED, DEAD, ["Crashed"]),
        ("why it is crashed changes", instance(status=crash()), instance(status=crash() | unready("Gone")), []),
        ("it recovers", instance(status=crash()), IDLE, []),
        ("it is to go", IDLE, instance(status=READY, deleting=True), ["Deleting"]),
        ("it is gone", instance(status=READY, deleting=True), None, ["Gone"]),
        ("all of it was missed", None, CLAIMED, ALL_OF_AN_INSTANCE),
        ("the middle was missed", NEW, CLAIMED, ALL_OF_AN_INSTANCE[1:]),
        ("nothing changed", CLAIMED, CLAIMED, []),
        ("a claim appears", None, ASKED, ["Created"]),
        ("it waits", ASKED, claim(status={"phase": "Pending"} | unready("Queued")), []),
        ("it is bound", ASKED, BOUND, ["Bound"]),
        ("somebody has to accept it", ASKED, claim(status={"phase": "PendingAcceptance"}), ["PendingAcceptance/0"]),
        (
            "its instance is of no use",
            ASKED,
            claim(status={"phase": "Pending", "attempts": 1, "instance": "one"} | unready("Unfit")),
            ["Rebinding/1"],
        ),
        (
            "and the next one neither",
            claim(status={"phase": "Pending", "attempts": 1}),
            claim(status={"phase": "Pending", "attempts": 2, "instance": "two"} | unready("Unfit")),
            ["Rebinding/2"],
        ),
        (
            "the third ends it, which is no rebinding",
            claim(status={"phase": "Pending", "attempts": 2}),
            claim(status={"phase": "Failed", "attempts": 3} | unready("Unfit")),
            ["Failed"],
        ),
        ("it fails", ASKED, claim(status={"phase": "Failed"} | unready("BindTimeout")), ["Failed"]),
        ("it expires", BOUND, claim(status={"phase": "Expired", "boundAt": at(2)}), ["Expired"]),
        ("its instance is taken away", BOUND, claim(status={"phase": "Evicted", "boundAt": at(2)}), ["Evicted"]),
        ("it is given back", BOUND, claim(status={"phase": "Bound", "boundAt": at(2)}, deleting=True), ["Released"]),
        ("what failed is not given back", FAILED, claim(status={"phase": "Failed"}, deleting=True), []),
        ("it is gone with all that was not seen", BOUND, None, ["Gone"]),
        ("there was never anything", None, None, []),
    ],
)  # fmt: skip
def test_what_happened(sentence: str, before: Subject | None, after: Subject | None, expected: list[str]) -> None:
    assert told(before, after) == expected


def test_another_object_of_the_same_name_is_another_story() -> None:
    other = claim(meta={"uid": "another"})
    assert [(record.uid, record.transition) for record in derive(BOUND, other)] == [
        ("uid-wish", "Gone"),
        ("another", "Created"),
    ]


def test_what_no_api_server_has_seen_has_no_story() -> None:
    unborn = claim(meta={"creationTimestamp": None})
    assert derive(None, unborn) == derive(unborn, None) == ()


def test_a_record_says_who_what_where_and_why() -> None:
    [record] = derive(IDLE, instance(status=crash(), claim=None))
    assert (record.kind, record.namespace, record.name, record.pool) == ("AgentInstance", "default", "one", "helpers")
    assert (record.reason, record.message) == ("Exited", "because of Exited")
    assert record.about["backend"] == "process"
    assert record.about["templateHash"] == "new-hash"


def test_a_rebinding_that_was_missed_is_told_without_its_reason() -> None:
    missed = claim(status={"phase": "Bound", "boundAt": at(2), "attempts": 1} | unready("Bound"))
    record = derive(ASKED, missed)[0]
    assert (record.transition, record.reason, record.not_after) == (Transition.REBINDING, "", at(2))


def test_content_is_apart_and_shown_nowhere() -> None:
    private = claim(instructions="canary-words", joinUrl="https://canary-join", status={"phase": "Pending"})
    [created] = derive(None, private)
    assert created.content == {"instructions": "canary-words", "joinUrl": "https://canary-join"}
    [bound] = derive(ASKED, BOUND)
    assert bound.content == {"inviteUrl": "https://canary"}
    assert "canary" not in f"{created} {bound} {created.about} {bound.about}"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(-5, 0), (0.3, 0.3), (7, 0)],
    ids=["the host's clock is behind", "seen at once", "seen late, as after a restart"],
)
def test_a_life_begins_when_it_was_seen_to_within_the_second_that_the_server_tells(
    seen: float, expected: float
) -> None:
    [created] = derive(None, claim())
    assert created.moment(at(seen)) == at(expected)


@pytest.mark.parametrize(("seen", "expected"), [(-900, -10), (0.5, 0.5), (900, 1)])
def test_a_binding_is_placed_between_readiness_and_conversation_whatever_the_clock_says(
    seen: float, expected: float
) -> None:
    [bound, _] = derive(IDLE, CLAIMED)
    assert bound.moment(at(seen)) == at(expected)


def test_what_the_resource_dates_exactly_is_not_dated_by_who_sees_it() -> None:
    [ready] = derive(LAUNCHED, IDLE)
    assert ready.moment(NOW + timedelta(days=3)) == ready.moment(NOW - timedelta(days=3)) == at(-10)


lives = st.builds(
    lambda make, seed: make("one", Random(seed)),
    st.sampled_from([instance_life, claim_life]),
    st.integers(0, 2**32),
)


@st.composite
def partly_seen(draw: st.DrawFn) -> tuple[Life, list[int]]:
    life: Life = draw(lives)
    numbers = draw(st.lists(st.integers(0, len(life.states) - 1), unique=True).map(sorted))
    return life, numbers


@given(partly_seen())
def test_who_sees_less_derives_less_and_nothing_else(case: tuple[Life, list[int]]) -> None:
    life, seen = case
    everything = {record.key for record in life.records()}
    assert {record.key for record in life.records(seen)} <= everything


@given(partly_seen())
def test_no_record_is_derived_twice_by_who_goes_on(case: tuple[Life, list[int]]) -> None:
    life, seen = case
    keys = [record.key for record in life.records(seen)]
    assert len(keys) == len(set(keys))


@given(partly_seen())
def test_everybody_is_right_about_when(case: tuple[Life, list[int]]) -> None:
    life, seen = case
    for record in [*life.records(seen), *life.records()]:
        truth = life.truth[record.transition, record.ordinal]
        assert record.not_before <= truth
        assert record.not_after is None or truth <= record.not_after


@given(lives)
def test_who_sees_all_misses_nothing(life: Life) -> None:
    derived = {(record.transition, record.ordinal) for record in life.records()}
    missed = {what for what in life.truth if what not in derived}
    assert missed == set()


@given(lives, st.data())
def test_after_a_restart_the_same_is_derived_again(life: Life, data: st.DataObject) -> None:
    state = life.states[data.draw(st.integers(0, len(life.states) - 1))]
    assert derive(None, state) == derive(None, state)
    before = life.states[data.draw(st.integers(0, len(life.states) - 1))]
    again = {record.key: record for record in derive(None, state)}
    for record in derive(before, state):
        assert again[record.key] == record


@given(lives)
def test_records_come_in_the_order_of_events(life: Life) -> None:
    def moments(records: list[Record]) -> list[float]:
        return [life.truth[record.transition, record.ordinal].timestamp() for record in records]

    assert moments(life.records()) == sorted(moments(life.records()))
