"""Retention: whole months of history are dropped, unless something that was made in them is still there."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from controller.ledger.queries import query
from controller.ledger.schema import check_version, schema_version
from controller.ledger.troubles import checked, explained

_PART = re.compile(r"(claim|instance)_history_y(\d{4})m(\d{2})")


@dataclass(frozen=True, slots=True)
class Month:
    """What became of the history of what was created in one month (in UTC)."""

    first: datetime
    dropped: bool
    claims: int
    """How many of that month's claims are still there: then it is kept."""
    instances: int
    """The same of its instances."""


async def prune(url: str, before: datetime, *, dry_run: bool = False) -> tuple[Month, ...]:
    """Drop each month that ended by then; answers what was decided on each. Needs the owner of the schema."""
    conninfo = checked(url)
    try:
        async with await AsyncConnection.connect(conninfo) as connection:
            check_version(await schema_version(connection), conninfo)
            # An operator in the middle of a batch is waited for, but not for ever.
            await connection.execute("SET LOCAL lock_timeout = '30s'")
            parts = await _parts(connection)
            due = [first for first in sorted(parts) if _next(first) <= before]
            return tuple([await _decide(connection, first, parts[first], dry_run=dry_run) for first in due])
    except psycopg.Error as error:
        raise explained(error, conninfo) from None


async def _parts(connection: AsyncConnection[Any]) -> dict[datetime, list[str]]:
    cursor = await connection.execute(query("parts"))
    parts: dict[datetime, list[str]] = {}
    for name, _ in await cursor.fetchall():
        if match := _PART.fullmatch(name):
            parts.setdefault(datetime(int(match[2]), int(match[3]), 1, tzinfo=UTC), []).append(name)
    return parts


async def _decide(connection: AsyncConnection[Any], first: datetime, parts: list[str], *, dry_run: bool) -> Month:
    span = {"first": first, "next": _next(first)}
    cursor = await connection.execute(query("alive"), span)
    row = await cursor.fetchone()
    claims, instances = (int(row[0]), int(row[1])) if row is not None else (0, 0)
    month = Month(first, claims == 0 and instances == 0, claims, instances)
    if month.dropped and not dry_run:
        for part in parts:
            await connection.execute(SQL("DROP TABLE agentpool.{}").format(Identifier(part)))
        await connection.execute(query("forget_claims"), span)
        await connection.execute(query("forget_instances"), span)
    return month


def _next(first: datetime) -> datetime:
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
