"""Whatever Postgres, the line to it, the disk and the clock do: claims go on, and each record arrives once."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import psycopg

from controller.core.transitions import derive
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.database import Database
from controller.ledger.postgres import PostgresLedger
from controller.ledger.schema import migrate
from controller.ledger.spool import Spool
from tests.core.builders import claim
from tests.ledger.conftest import (
    BOUND,
    WISH,
    Clock,
    at_work,
    eventually,
    execute,
    keys_in,
    keys_of,
    login,
    many,
    rows,
    says,
    soon,
    well,
)
from tests.ledger.lives import claim_life
from tests.ledger.proxy import Line


async def test_an_answer_that_is_lost_does_not_double_what_was_written(
    line: Line, options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    first = claim("first")
    async with at_work(open_ledger(options, clock)) as ledger:
        ledger.record(derive(None, first))
        await soon(ledger.settled("uid-first"))  # the month is there, so the next answer is that of the batch
        line.deaf = True
        ledger.record(derive(None, BOUND))
        await soon(ledger.settled("uid-wish"))
        assert not line.deaf
        assert keys_in(ledger_url) == [("uid-first", "Created", ""), *WISH]
        assert ledger.health is None


async def test_ended_by_postgres_in_the_middle_of_a_batch_none_of_it_is_there_and_then_all_of_it(
    options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    async with at_work(open_ledger(options, clock)) as ledger:
        await well(ledger)
        with psycopg.connect(ledger_url) as blocker:
            # History is written before this table: the statement waits with half of its work done.
            blocker.execute("LOCK TABLE agentpool.claims IN ACCESS EXCLUSIVE MODE")
            ledger.record(derive(None, BOUND))
            waiting = (
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'agentpool' AND wait_event_type = 'Lock'"
                " AND datname = current_database()"
            )
            await eventually(lambda: bool(rows(ledger_url, waiting)), "the batch is half done")
            assert rows(ledger_url, f"SELECT pg_terminate_backend(pid) FROM ({waiting}) w") == [(True,)]
            await says(ledger, "cannot be reached")
            assert keys_in(ledger_url) == []
        await soon(ledger.settled("uid-wish"))
        assert keys_in(ledger_url) == WISH


async def test_a_slow_postgres_gets_everything_in_order(
    line: Line, options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    line.delay = 0.05
    life = claim_life("wish", Random(3))
    async with at_work(open_ledger(options, clock)) as ledger:
        for record in life.records():
            ledger.record([record])
            await asyncio.sleep(0.01)
        await soon(ledger.settled("uid-wish"))
        assert keys_in(ledger_url) == keys_of(life.records())


async def test_a_line_that_falls_silent_is_given_up_and_the_batch_goes_over_another(
    line: Line, tmp_path: Path, clock: Clock, ledger_url: str
) -> None:
    spool = Spool(tmp_path / "spool", 10**6)
    async with at_work(PostgresLedger(Database(line.url, answer_seconds=0.3), spool, clock)) as ledger:
        await well(ledger)
        line.speaks.clear()
        ledger.record(derive(None, BOUND))
        await eventually(lambda: ledger.health is not None, "it is noticed")
        assert not ledger.safe("uid-wish")
        line.speaks.set()
        await soon(ledger.settled("uid-wish"))
        assert keys_in(ledger_url) == WISH


async def test_it_can_be_stopped_while_postgres_is_silent(line: Line, options: LedgerOptions, clock: Clock) -> None:
    async with at_work(open_ledger(options, clock)) as ledger:
        await well(ledger)
        line.speaks.clear()
        ledger.record(derive(None, BOUND))
        await asyncio.sleep(0.05)


async def test_a_server_without_a_free_connection_is_named_and_waited_for(
    options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    with login(ledger_url, "CONNECTION LIMIT 1") as url:
        taken = psycopg.connect(url)
        async with at_work(open_ledger(replace(options, url=url), clock)) as ledger:
            ledger.record(derive(None, BOUND))
            await says(ledger, "has no free connection")
            taken.close()
            await soon(ledger.settled("uid-wish"))
            assert keys_in(ledger_url) == WISH


async def test_before_the_database_is_migrated_it_says_so_and_afterwards_goes_on_by_itself(
    database_url: str, options: LedgerOptions, clock: Clock
) -> None:
    async with at_work(open_ledger(replace(options, url=database_url), clock)) as ledger:
        ledger.record(derive(None, BOUND))
        await says(ledger, "has no schema yet", "agentpool ledger migrate")
        await migrate(database_url)
        await soon(ledger.settled("uid-wish"))
        assert keys_in(database_url) == WISH


async def test_told_to_it_migrates_by_itself(database_url: str, options: LedgerOptions, clock: Clock) -> None:
    async with at_work(open_ledger(replace(options, url=database_url, migrate_at_start=True), clock)) as ledger:
        ledger.record(derive(None, BOUND))
        await soon(ledger.settled("uid-wish"))
        assert keys_in(database_url) == WISH


async def test_a_schema_that_is_newer_than_the_program_is_left_alone(
    database_url: str, options: LedgerOptions, clock: Clock
) -> None:
    await migrate(database_url)
    execute(database_url, "INSERT INTO agentpool.migrations (version, name, checksum) VALUES (999, 'later', '')")
    async with at_work(open_ledger(replace(options, url=database_url, migrate_at_start=True), clock)) as ledger:
        ledger.record(derive(None, BOUND))
        await says(ledger, "has schema 999", "use the version of agentpool that migrated it")
        assert keys_in(database_url) == []


async def test_a_record_that_postgres_will_never_take_is_set_aside_and_holds_up_nothing(
    database_url: str, options: LedgerOptions, clock: Clock
) -> None:
    await migrate(database_url)
    execute(database_url, "ALTER TABLE agentpool.claim_history ADD CHECK (name <> 'c17')")
    async with at_work(open_ledger(replace(options, url=database_url), clock)) as ledger:
        ledger.record(many(40))
        for number in range(40):
            await soon(ledger.settled(f"uid-c{number}"))
        assert len(keys_in(database_url)) == 39
        await says(ledger, "1 records were refused", "refused.jsonl")
    assert '"uid-c17"' in (options.spool / "refused.jsonl").read_text()


async def test_a_month_that_is_dropped_under_it_is_made_again(
    options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    async with at_work(open_ledger(options, clock)) as ledger:
        ledger.record(derive(None, BOUND))
        await soon(ledger.settled("uid-wish"))
        execute(ledger_url, "DROP TABLE agentpool.claim_history_y2026m03")
        ledger.record(derive(None, claim("late")))
        await soon(ledger.settled("uid-late"))
        assert keys_in(ledger_url) == [("uid-late", "Created", "")]
        assert ledger.health is None


async def test_two_operators_that_write_the_same_at_once_write_it_once(
    options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    both = [replace(options, url=ledger_url, spool=options.spool / name) for name in ("one", "two")]
    records = many(600)
    async with at_work(open_ledger(both[0], clock)) as one, at_work(open_ledger(both[1], clock)) as two:
        await well(one)
        await well(two)
        one.record(records)
        two.record(records[::-1])
        for number in range(600):
            await soon(one.settled(f"uid-c{number}"))
            await soon(two.settled(f"uid-c{number}"))
        assert sorted(keys_in(ledger_url)) == sorted(keys_of(records))
