"""Pruning: whole months go, and nothing that is still there loses its history."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from controller.core.transitions import derive
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.entries import entry_of
from controller.ledger.queries import query
from controller.ledger.retention import Month, prune
from controller.ledger.schema import migrate
from controller.model import AgentClaim
from tests.core.builders import claim
from tests.ledger.conftest import Clock, at_work, eventually, keys_in, rows, soon


def month(number: int) -> datetime:
    return datetime(2026, number, 1, tzinfo=UTC)


def made(name: str, when: datetime) -> AgentClaim:
    return claim(name, meta={"creationTimestamp": when})


@pytest.fixture
async def url(database_url: str, tmp_path: Path, clock: Clock) -> str:
    """Claims of January and February that are gone, and one of each of February and March that is not."""
    await migrate(database_url)
    gone = [made("jan", month(1)), made("feb", month(2).replace(day=28, hour=23))]
    there = [made("still", month(2)), made("mar", month(3))]
    async with at_work(open_ledger(LedgerOptions(database_url, tmp_path), clock)) as ledger:
        for each in (*gone, *there):
            ledger.record(derive(None, each))
        for each in gone:
            ledger.record(derive(each, None))
        for each in (*gone, *there):
            await soon(ledger.settled(each.metadata.uid))
    return database_url


def left(url: str) -> set[str]:
    return {uid.removeprefix("uid-") for uid, *_ in keys_in(url)}


def waiting(url: str) -> int:
    """How many wait for a lock."""
    locked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return len(rows(url, locked))


def write_late(operator: psycopg.Connection[Any]) -> None:
    """One more claim of January is there, of which nobody knew."""
    entry = entry_of(derive(None, made("late", month(1)))[0], month(1), store_content=False)
    operator.execute(query("record"), {"records": f"[{entry.item.decode()}]"})


async def test_a_month_goes_with_all_that_is_known_of_its_claims(url: str) -> None:
    assert await prune(url, month(2)) == (Month(month(1), True, 0, 0),)
    assert left(url) == {"feb", "still", "mar"}
    assert rows(url, "SELECT count(*) FROM agentpool.claims") == [(3,)]
    assert rows(url, "SELECT to_regclass('agentpool.claim_history_y2026m01')") == [(None,)]


async def test_a_month_in_which_something_was_made_that_is_still_there_is_kept(url: str) -> None:
    assert await prune(url, month(4)) == (
        Month(month(1), True, 0, 0),
        Month(month(2), False, 1, 0),
        Month(month(3), False, 1, 0),
    )
    assert left(url) == {"feb", "still", "mar"}


async def test_where_it_is_told_to_a_month_goes_even_if_nobody_saw_the_end_of_what_was_made_in_it(url: str) -> None:
    dropped = (Month(month(1), True, 0, 0), Month(month(2), True, 1, 0))
    assert await prune(url, month(3), even_open=True, dry_run=True) == dropped
    assert left(url) == {"jan", "feb", "still", "mar"}
    assert await prune(url, month(3), even_open=True) == dropped
    assert left(url) == {"mar"}
    assert rows(url, "SELECT uid FROM agentpool.claims") == [("uid-mar",)]


async def test_what_arrives_while_it_is_counted_keeps_its_month(url: str) -> None:
    with psycopg.connect(url) as operator:
        write_late(operator)
        pruning = asyncio.create_task(prune(url, month(2)))
        await eventually(lambda: waiting(url) == 1, "it waits for the operator")
    assert await pruning == (Month(month(1), False, 1, 0),)
    assert left(url) == {"jan", "feb", "still", "mar", "late"}


async def test_an_operator_that_comes_while_a_month_is_dropped_waits_and_is_no_deadlock(url: str) -> None:
    def operate() -> None:
        with psycopg.connect(url) as operator:
            write_late(operator)

    with psycopg.connect(url) as another:
        # Pruning is stopped in the middle of its locks.
        another.execute("LOCK TABLE agentpool.claims IN ROW EXCLUSIVE MODE")
        pruning = asyncio.create_task(prune(url, month(2)))
        await eventually(lambda: waiting(url) == 1, "it waits for the table")
        operating = asyncio.create_task(asyncio.to_thread(operate))
        await eventually(lambda: waiting(url) == 2, "the operator waits, too")
    assert await pruning == (Month(month(1), True, 0, 0),)
    with pytest.raises(psycopg.errors.CheckViolation):  # its month is gone, and it makes it anew
        await operating


@pytest.mark.parametrize("before", [month(1), datetime(2026, 1, 31, 23, 59, tzinfo=UTC)])
async def test_a_month_that_has_not_ended_by_then_is_not_touched(before: datetime, url: str) -> None:
    assert await prune(url, before) == ()
    assert left(url) == {"jan", "feb", "still", "mar"}


async def test_a_dry_run_only_tells(url: str) -> None:
    assert await prune(url, month(2), dry_run=True) == (Month(month(1), True, 0, 0),)
    assert left(url) == {"jan", "feb", "still", "mar"}


async def test_pruned_twice_it_is_pruned_once(url: str) -> None:
    await prune(url, month(2))
    assert await prune(url, month(2)) == ()
