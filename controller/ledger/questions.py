"""What people ask the ledger: history, claims, usage."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection

from controller.ledger.queries import query
from controller.ledger.schema import check_version, schema_version
from controller.ledger.troubles import checked, explained


@dataclass(frozen=True, slots=True)
class Answer:
    """A table: names of columns, and rows of as many values."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which claims are meant: those that were made from ``since`` on and before ``until``; ``None`` is any."""

    namespace: str | None = None
    agent: str | None = None
    pool: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Questions:
    """A ledger that is open for reading."""

    def __init__(self, connection: AsyncConnection[Any], conninfo: str) -> None:
        self._connection = connection
        self._conninfo = conninfo

    async def history(self, wanted: str, namespace: str | None) -> Answer:
        """Everything that happened to the claims and instances of that uid or name, and to what served the claims."""
        return await self._ask("history", {"wanted": wanted, "namespace": namespace})

    async def claims(self, choice: Choice, limit: int) -> Answer:
        """The newest claims, at most so many."""
        return await self._ask("claims", {**_parameters(choice), "limit": limit})

    async def usage(self, choice: Choice, by: str, now: datetime) -> Answer:
        """Claims counted by ``pool``, ``day`` (in UTC) or ``agent``."""
        return await self._ask("usage", {**_parameters(choice), "by": by, "now": now})

    async def _ask(self, name: str, parameters: Mapping[str, Any]) -> Answer:
        try:
            cursor = await self._connection.execute(query(name), parameters)
            columns = tuple(column.name for column in cursor.description or ())
            return Answer(columns, await cursor.fetchall())
        except psycopg.Error as error:
            raise explained(error, self._conninfo) from None


@asynccontextmanager
async def opened_for_reading(url: str) -> AsyncIterator[Questions]:
    """The ledger behind a URL; every error is a sentence for a person."""
    conninfo = checked(url)
    try:
        connection = await AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise explained(error, conninfo) from None
    async with connection:
        try:
            await connection.execute(query("begin_reading"))
            await connection.execute(query("put_on_role"))
            version = await schema_version(connection)
        except psycopg.Error as error:
            raise explained(error, conninfo) from None
        check_version(version, conninfo)
        yield Questions(connection, conninfo)


def _parameters(choice: Choice) -> dict[str, Any]:
    return {
        "namespace": choice.namespace,
        "agent": choice.agent,
        "pool": choice.pool,
        "since": choice.since,
        "until": choice.until,
    }
