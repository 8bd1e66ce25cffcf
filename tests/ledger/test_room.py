"""A disk that is full, a queue that is full, a ledger that is strict; and what is kept out of all of them."""

import errno
import logging
import os
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from random import Random

import pytest

from controller.core.transitions import derive
from controller.errors import Transient
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.database import Database
from controller.ledger.entries import Entry, entry_of
from controller.ledger.postgres import PostgresLedger
from controller.ledger.spool import Slot, Spool
from tests.core.builders import at, claim, instance
from tests.ledger.conftest import (
    BOUND,
    WISH,
    Clock,
    Listener,
    at_work,
    eventually,
    keys_in,
    keys_of,
    many,
    rows,
    says,
    soon,
    well,
)
from tests.ledger.lives import claim_life
from tests.ledger.proxy import Line


class _Disk(Spool):
    """A spool on a disk that can be full."""

    full = False

    def append(self, entries: list[Entry]) -> list[Slot]:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().append(entries)


async def test_while_the_disk_is_full_records_arrive_all_the_same(
    line: Line, tmp_path: Path, clock: Clock, ledger_url: str
) -> None:
    disk = _Disk(tmp_path / "spool", 10**6)
    async with at_work(PostgresLedger(Database(line.url), disk, clock)) as ledger:
        await well(ledger)
        line.refuses = True
        line.cut()
        ledger.record(derive(None, claim("first")))
        disk.full = True
        ledger.record(derive(None, claim("second")))
        await says(ledger, "No space left on device", "AGENTPOOL_LEDGER_SPOOL_DIR")
        disk.full = False
        ledger.record(derive(None, claim("third")))
        line.refuses = False
        for name in ("first", "second", "third"):
            await soon(ledger.settled(f"uid-{name}"))
        assert [uid for uid, *_ in keys_in(ledger_url)] == ["uid-first", "uid-second", "uid-third"]
        await well(ledger)


async def test_what_the_disk_does_not_give_back_is_derived_again(
    line: Line, options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    listener = Listener()
    async with at_work(open_ledger(options, clock)) as ledger:
        listener.on_missed = lambda uid: ledger.record(derive(None, BOUND))
        ledger.listen(listener)
        await well(ledger)
        line.refuses = True
        line.cut()
        ledger.record(derive(None, BOUND))
        [segment] = options.spool.glob("*.spool")
        segment.write_bytes(segment.read_bytes().replace(b"Bound", b"Round"))
        line.refuses = False
        await soon(ledger.settled("uid-wish"))
        assert sorted(keys_in(ledger_url)) == sorted(WISH)
        assert listener.missed_uids == ["uid-wish"]


async def test_a_place_of_the_disk_that_cannot_be_read_holds_nobody_up_and_is_used_no_more(
    options: LedgerOptions,
    clock: Clock,
    ledger_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given, listener = os.pread, Listener()

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "000000000001.spool":
            raise OSError(errno.EIO, "Input/output error")
        return given(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    async with at_work(open_ledger(options, clock)) as ledger:
        listener.on_missed = lambda uid: ledger.record(derive(None, BOUND))
        ledger.listen(listener)
        ledger.record(derive(None, BOUND))
        await soon(ledger.settled("uid-wish"))
        assert keys_in(ledger_url) == WISH
        await well(ledger)
    assert listener.missed_uids == ["uid-wish"]
    assert caplog.text.count("000000000001.spool cannot be read again: Input/output error") == 1


class _Feeble(Database):
    """Postgres, where it is so slow that nothing but small batches gets through in time."""

    async def write(self, items: list[bytes]) -> int:
        if len(items) > 20:
            raise Transient("the database did not answer in time")
        return await super().write(items)


async def test_what_is_too_much_for_a_slow_postgres_is_sent_in_smaller_parts(
    tmp_path: Path, clock: Clock, ledger_url: str
) -> None:
    async with at_work(PostgresLedger(_Feeble(ledger_url), Spool(tmp_path, 10**6), clock)) as ledger:
        ledger.record(many(60))
        for number in range(60):
            await soon(ledger.settled(f"uid-c{number}"))
        assert keys_in(ledger_url) == keys_of(many(60))


async def test_what_found_no_room_is_asked_for_again_and_comes_whole(
    line: Line, options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    listener, life = Listener(), claim_life("wish", Random(5))
    async with at_work(open_ledger(replace(options, spool_bytes=8192), clock)) as ledger:
        listener.on_missed = lambda uid: ledger.record(life.records() if uid == "uid-wish" else ())
        ledger.listen(listener)
        await well(ledger)
        line.refuses = True
        line.cut()
        size = len(entry_of(many(1)[0], at(0), store_content=False).line)
        ledger.record(many(8192 // size - 2))
        ledger.record(life.records())
        # There is room for one, but it would come before those that found none.
        ledger.record(life.records()[-1:])
        assert not ledger.safe("uid-wish")
        await says(ledger, "is full", "AGENTPOOL_LEDGER_SPOOL_MEGABYTES")
        line.refuses = False
        await soon(ledger.settled("uid-wish"))
        assert [key for key in keys_in(ledger_url) if key[0] == "uid-wish"] == keys_of(life.records())
        assert "uid-wish" in listener.missed_uids
        await eventually(lambda: "uid-wish" in listener.settled_uids, "told")
        await well(ledger)


async def test_a_strict_ledger_bars_claims_while_they_could_not_be_recorded(
    line: Line, options: LedgerOptions, clock: Clock
) -> None:
    async with at_work(open_ledger(replace(options, strict=True), clock)) as ledger:
        assert ledger.strict
        assert "was not reached yet" in (ledger.barrier or "")
        await eventually(lambda: ledger.barrier is None, "open")
        line.refuses = True
        line.cut()
        ledger.record(derive(None, BOUND))
        await eventually(lambda: "the ledger is strict" in (ledger.barrier or ""), "barred")
        line.refuses = False
        await eventually(lambda: ledger.barrier is None, "open again")


async def test_a_strict_ledger_notices_that_postgres_is_gone_while_nothing_happens(
    line: Line, options: LedgerOptions, clock: Clock
) -> None:
    async with at_work(open_ledger(replace(options, strict=True), clock)) as ledger:
        await eventually(lambda: ledger.barrier is None, "open")
        line.refuses = True
        line.cut()
        await eventually(lambda: ledger.barrier is not None, "barred")


async def test_any_other_ledger_bars_nobody(line: Line, options: LedgerOptions, clock: Clock) -> None:
    line.refuses = True
    async with at_work(open_ledger(options, clock)) as ledger:
        await says(ledger, "cannot be reached")
        assert ledger.barrier is None


async def test_a_clock_that_jumps_bends_no_date_that_the_resource_tells(
    options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    given = instance(claim="wish", status={"phase": "Idle", "readyAt": at(-10)})
    taken = instance(claim="wish", status={"phase": "Claimed", "readyAt": at(-10), "claimedAt": at(3)})
    async with at_work(open_ledger(options, clock)) as ledger:
        clock.jump(-86_400)
        ledger.record(derive(None, claim()))
        ledger.record(derive(None, given))
        clock.jump(2 * 86_400)
        ledger.record(derive(given, taken))
        ledger.record(derive(None, BOUND))
        await soon(ledger.settled("uid-one"))
        await soon(ledger.settled("uid-wish"))
    dates = rows(
        ledger_url,
        "SELECT created_at, assigned_at, bound_at, queued_seconds, provision_seconds FROM agentpool.claim_overview",
    )
    assert [date.astimezone(UTC) if hasattr(date, "astimezone") else date for date in dates[0]] == [
        at(0), at(-10), at(2), 0.0, 12.0,
    ]  # fmt: skip


PRIVATE = claim(
    instructions="canary-words",
    joinUrl="https://dev.convos.org/canary-join",
    status={
        "phase": "PendingAcceptance",
        "inviteUrl": "https://dev.convos.org/canary-invite",
        "message": "waiting at https://dev.convos.org/canary-invite for somebody",
    },
)


@pytest.mark.parametrize("stored", [False, True])
async def test_content_is_kept_only_where_that_is_wanted(
    stored: bool, line: Line, options: LedgerOptions, clock: Clock, ledger_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with at_work(open_ledger(replace(options, store_content=stored), clock)) as ledger:
        line.refuses = True
        ledger.record(derive(None, PRIVATE))
        await says(ledger, "cannot be reached")
        spooled = b"".join(path.read_bytes() for path in options.spool.iterdir())
        line.refuses = False
        await soon(ledger.settled("uid-wish"))
    tables = [str(rows(ledger_url, f"SELECT * FROM agentpool.{table}")) for table in ("claim_history", "claims")]
    for canary in ("canary-words", "canary-join", "canary-invite"):
        assert (canary in tables[1]) is stored
        assert (canary in tables[0]) is stored
        assert (canary.encode() in spooled) is stored
    assert "canary" not in caplog.text


async def test_content_that_waits_on_disk_is_not_sent_once_it_is_not_wanted_any_more(
    line: Line, options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    line.refuses = True
    named = claim("named", meta={"labels": {"content": "none"}})
    async with at_work(open_ledger(replace(options, store_content=True), clock)) as ledger:
        ledger.record(derive(None, PRIVATE))
        ledger.record(derive(None, named))
    line.refuses = False
    async with at_work(open_ledger(options, clock)) as ledger:
        await soon(ledger.settled("uid-wish"))
        await soon(ledger.settled("uid-named"))
    sent = [str(rows(ledger_url, f"SELECT * FROM agentpool.{table}")) for table in ("claim_history", "claims")]
    assert "canary" not in "".join(sent)
    assert rows(ledger_url, "SELECT message FROM agentpool.claim_history WHERE transition = 'PendingAcceptance'") == [
        ("waiting at (not stored) for somebody",)
    ]
    assert rows(ledger_url, "SELECT about -> 'labels' FROM agentpool.claims WHERE name = 'named'") == [
        ({"content": "none"},)
    ]


async def test_no_password_is_ever_shown(
    options: LedgerOptions, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    url = "postgresql://somebody:canary-password@127.0.0.1:1/agentpool"
    caplog.set_level(logging.DEBUG)
    async with at_work(open_ledger(replace(options, url=url), clock)) as ledger:
        await says(ledger, "database agentpool at 127.0.0.1:1 cannot be reached", "refused")
        assert "canary" not in f"{ledger.health} {options!r} {caplog.text}"
