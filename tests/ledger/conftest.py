"""Ledgers to try: on a real Postgres with a line that can break, and in memory."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from controller.core.transitions import Record, derive
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.schema import migrate
from controller.ports import Ledger
from tests.core.builders import at, claim
from tests.doubles.ledger import InMemoryLedger
from tests.ledger.proxy import Line
from tests.postgres.plugin import fresh_database, with_parts

PATIENCE = 30.0
"""Seconds within which anything good happens, however busy the machine is."""


class Clock:
    """A calendar that stands still unless it is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def jump(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Listener:
    """Remembers what it was told."""

    settled_uids: list[str] = field(default_factory=list)
    missed_uids: list[str] = field(default_factory=list)
    on_missed: Callable[[str], None] = lambda uid: None

    def settled(self, uid: str) -> None:
        self.settled_uids.append(uid)

    def missed(self, uid: str) -> None:
        self.missed_uids.append(uid)
        self.on_missed(uid)


@dataclass
class Subject:
    """A ledger at work, and what can be done to its database."""

    ledger: Ledger
    clock: Clock
    go_away: Callable[[], Awaitable[None]]
    come_back: Callable[[], Awaitable[None]]
    keys: Callable[[], list[tuple[str, str, str]]]
    """What has arrived, in that order."""
    again: Callable[[], Awaitable["Subject"]]
    """The process is killed, and another one takes its place."""


async def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} s in vain: {what}")
        await asyncio.sleep(0.01)


async def soon(waiting: Awaitable[Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        await waiting


@asynccontextmanager
async def at_work(ledger: Ledger) -> AsyncIterator[Ledger]:
    """The ledger while it runs."""
    running = asyncio.create_task(ledger.run())
    try:
        yield ledger
    finally:
        running.cancel()
        await asyncio.wait({running})
        await ledger.close()
        assert running.cancelled()


def rows(url: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a database answers."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode(), parameters or None).fetchall()


def execute(url: str, *statements: str) -> None:
    """Have a database do something."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def login(url: str, limits: str = "", *, operator: bool = True) -> Iterator[str]:
    """The database as somebody sees it who is not its owner, but may do what an operator may, unless told otherwise."""
    role = f"ap_test_{secrets.token_hex(4)}"
    made = f"CREATE ROLE {role} LOGIN PASSWORD '{role}' {limits}"
    execute(url, made, *([f"GRANT agentpool_operator TO {role}"] if operator else []))
    try:
        yield with_parts(url, user=role, password=role)
    finally:
        execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def keys_in(url: str) -> list[tuple[str, str, str]]:
    """The keys of all history, in the order of arrival of each kind."""
    claims = rows(url, "SELECT uid, transition, ordinal FROM agentpool.claim_history ORDER BY id")
    instances = rows(url, "SELECT uid, transition, ordinal FROM agentpool.instance_history ORDER BY id")
    return [*claims, *instances]


def keys_of(records: list[Record]) -> list[tuple[str, str, str]]:
    return [record.key for record in records]


BOUND = claim(status={"phase": "Bound", "boundAt": at(2), "instance": "one"})
WISH = [("uid-wish", "Created", ""), ("uid-wish", "Bound", "")]


def many(count: int) -> list[Record]:
    return [derive(None, claim(f"c{number}"))[0] for number in range(count)]


async def well(ledger: Ledger) -> None:
    await eventually(lambda: ledger.health is None, "it is well")


async def says(ledger: Ledger, *words: str) -> None:
    await eventually(lambda: all(word in (ledger.health or "") for word in words), f"it says {words}: {ledger.health}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated_url(postgres_url: str) -> Iterator[str]:
    """A database with the schema, shared by tests that clear it before they begin."""
    with fresh_database(postgres_url) as url:
        # In a thread of its own, since the first test that asks for it may have a loop running.
        with ThreadPoolExecutor(1) as threads:
            threads.submit(asyncio.run, migrate(url)).result()
        yield url


@pytest.fixture
def ledger_url(migrated_url: str) -> str:
    """A database with the schema and nothing in it."""
    tables = "agentpool.claim_history, agentpool.instance_history, agentpool.claims, agentpool.instances"
    execute(migrated_url, f"TRUNCATE {tables} RESTART IDENTITY")
    return migrated_url


@pytest.fixture
async def line(ledger_url: str) -> AsyncIterator[Line]:
    async with Line(ledger_url) as line:
        yield line


@pytest.fixture
def options(line: Line, tmp_path: Path) -> LedgerOptions:
    """A ledger on Postgres behind the line."""
    return LedgerOptions(line.url, tmp_path / "spool")


@pytest.fixture(params=["postgres", "in memory"])
async def subject(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[Subject]:
    """One ledger after the other."""
    if request.param == "in memory":
        yield _in_memory(InMemoryLedger(clock), clock)
        return
    ledger_url: str = request.getfixturevalue("ledger_url")
    async with Line(ledger_url) as line:
        behind = _BehindLine(line, LedgerOptions(line.url, tmp_path / "spool"), clock, ledger_url)
        yield await behind.begin()
        await behind.end()


@dataclass
class _BehindLine:
    line: Line
    options: LedgerOptions
    clock: Clock
    url: str
    running: asyncio.Task[None] | None = None
    ledger: Ledger | None = None

    async def begin(self) -> Subject:
        self.ledger = open_ledger(self.options, self.clock)
        self.running = asyncio.create_task(self.ledger.run())
        return Subject(self.ledger, self.clock, self.go_away, self.come_back, lambda: keys_in(self.url), self.again)

    async def end(self) -> None:
        assert self.running is not None
        assert self.ledger is not None
        self.running.cancel()
        await asyncio.wait({self.running})
        await self.ledger.close()

    async def again(self) -> Subject:
        await self.end()
        return await self.begin()

    async def go_away(self) -> None:
        self.line.refuses = True
        self.line.cut()

    async def come_back(self) -> None:
        self.line.refuses = False


def _in_memory(ledger: InMemoryLedger, clock: Clock) -> Subject:
    async def go_away() -> None:
        ledger.go_away()

    async def come_back() -> None:
        ledger.come_back()

    async def again() -> Subject:
        return _in_memory(InMemoryLedger(clock, durable=ledger), clock)

    def keys() -> list[tuple[str, str, str]]:
        kinds = ("AgentClaim", "AgentInstance")
        return [key for kind in kinds for key, (record, _) in ledger.rows.items() if record.kind == kind]

    return Subject(ledger, clock, go_away, come_back, keys, again)
