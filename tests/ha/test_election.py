"""What a process concludes from a Lease: tables, on clocks that are only numbers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.core.election import Election, LeaseRecord, Terms

TERMS = Terms(duration_seconds=8, renew_seconds=2, poll_seconds=0.5, margin_seconds=2)
TODAY = datetime(2026, 11, 27, tzinfo=UTC)


def record(holder: str, version: str = "1", seconds: int = 8) -> LeaseRecord:
    return LeaseRecord(holder, seconds, TODAY, TODAY, transitions=4, version=version)


def election() -> Election:
    return Election("me", TERMS)


def leader(asked_at: float = 100.0) -> Election:
    mine = election()
    mine.saw(None, asked_at)
    bid = mine.bid(TODAY, asked_at)
    assert bid is not None
    mine.granted(replace(bid, version="1"), asked_at, asked_at + 0.5)
    return mine


@pytest.mark.parametrize(
    ("seen", "seen_at", "now", "open_in"),
    [
        pytest.param(None, 0.0, 0.0, 0.0, id="there is none: at once"),
        pytest.param(record(""), 0.0, 0.0, 0.0, id="it was given up: at once"),
        pytest.param(record("me"), 0.0, 0.0, 0.0, id="a grant of ours whose answer was lost: at once"),
        pytest.param(record("other"), 10.0, 10.0, 8.0, id="just seen: after all that its holder promised"),
        pytest.param(record("other"), 10.0, 17.9, 0.1, id="a little before it runs out"),
        pytest.param(record("other"), 10.0, 18.0, 0.0, id="when it has run out"),
        pytest.param(record("other", seconds=30), 10.0, 18.0, 22.0, id="its holder's promise counts, not ours"),
        pytest.param(record("other", seconds=0), 10.0, 10.0, 1.0, id="a promise that makes no sense"),
    ],
)
def test_when_it_may_ask_for_the_lease(seen: LeaseRecord | None, seen_at: float, now: float, open_in: float) -> None:
    mine = election()
    mine.saw(seen, seen_at)
    assert mine.open_in(now) == pytest.approx(open_in)
    assert (mine.bid(TODAY, now) is not None) == (open_in == 0.0)


def test_it_waits_from_when_it_first_saw_a_version_and_anew_from_every_other_one() -> None:
    mine = election()
    mine.saw(record("other", "1"), 10.0)
    mine.saw(record("other", "1"), 14.0)
    assert mine.open_in(14.0) == pytest.approx(4.0)
    mine.saw(record("other", "2"), 15.0)
    assert mine.open_in(15.0) == pytest.approx(8.0)


def test_a_lease_that_is_deleted_is_its_holders_for_as_long_as_one_that_was_just_renewed() -> None:
    mine = election()
    mine.saw(record("other"), 10.0)
    mine.saw(None, 30.0)
    mine.saw(None, 35.0)
    assert mine.bid(TODAY, 37.9) is None
    bid = mine.bid(TODAY, 38.0)
    assert bid is not None
    assert bid.version == ""


@pytest.mark.parametrize("days", [-400, 0, 400], ids=["calendar far behind", "calendars agree", "calendar far ahead"])
def test_calendars_are_never_compared(days: int) -> None:
    mine = election()
    mine.saw(record("other"), 10.0)
    assert mine.bid(TODAY + timedelta(days=days), 17.9) is None
    assert mine.bid(TODAY + timedelta(days=days), 18.0) is not None


def test_it_may_write_from_the_grant_until_the_margin_before_its_end_counted_from_before_it_asked() -> None:
    mine = leader(asked_at=100.0)
    assert mine.writing_left(100.5) == pytest.approx(5.5)
    assert mine.writing_left(106.0) <= 0


def test_an_answer_that_took_longer_than_the_lease_permits_nothing() -> None:
    mine = election()
    mine.saw(None, 100.0)
    bid = mine.bid(TODAY, 100.0)
    assert bid is not None
    mine.granted(replace(bid, version="1"), 100.0, 107.0)
    assert mine.writing_left(107.0) <= 0


def test_a_renewal_keeps_term_and_beginning_and_always_changes_something() -> None:
    mine = leader()
    renewal = mine.bid(TODAY, 102.0)
    assert renewal is not None
    assert (renewal.acquired_at, renewal.transitions, renewal.version) == (TODAY, 0, "1")
    assert renewal.renewed_at == TODAY + timedelta(microseconds=1)
    mine.granted(replace(renewal, version="2"), 102.0, 102.1)
    assert mine.term == 1
    assert mine.writing_left(102.0) == pytest.approx(6.0)


def test_taking_it_over_counts_a_transition_and_guards_the_version_that_was_seen() -> None:
    mine = election()
    mine.saw(record("other", "7"), 10.0)
    bid = mine.bid(TODAY, 18.0)
    assert bid is not None
    assert (bid.holder, bid.version, bid.transitions, bid.duration_seconds) == ("me", "7", 5, 8)


def test_whoever_sees_that_another_one_has_it_stops_at_once() -> None:
    mine = leader()
    mine.saw(record("other", "2"), 101.0)
    assert mine.writing_left(101.0) <= 0
    assert not mine.has_lease
    assert mine.resign(TODAY) is None


def test_whoever_gets_it_anew_after_its_time_begins_another_term() -> None:
    mine = leader()
    again = mine.bid(TODAY, 110.0)
    assert again is not None
    mine.granted(replace(again, version="2"), 110.0, 110.1)
    assert mine.term == 2


def test_whoever_resigns_writes_no_more_and_leaves_the_lease_to_anybody() -> None:
    mine = leader()
    left = mine.resign(TODAY)
    assert left is not None
    assert (left.holder, left.version) == ("", "1")
    assert mine.writing_left(100.6) <= 0


def test_whoever_finds_its_lease_deleted_makes_it_anew_and_goes_on_leading() -> None:
    mine = leader()
    mine.saw(None, 101.0)
    bid = mine.bid(TODAY, 101.0)
    assert bid is not None
    assert bid.version == ""
    assert mine.writing_left(101.0) > 0
