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
    """How many of that month's claims are still there, as far as was seen: then it is kept, unless told otherwise."""
    instances: int
    """The same of its instances."""


async def prune(url: str, before: datetime, *, dry_run: bool = False, even_open: bool = False) -> tuple[Month, ...]:
    """Drop each month that ended by then; answers what was decided on each. Needs the owner of the schema.

    ``even_open``: also those with something whose end was never seen.
    """
    conninfo = checked(url)
    try:
        async with await AsyncConnection.connect(conninfo) as connection:
            check_version(await schema_version(connection), conninfo)
            # An operator in the middle of a batch is waited for, but not for ever.
            await connection.execute("SET LOCAL lock_timeout = '30s'")
            if not dry_run:
                # What is committed between counting and dropping would be dropped, too.
                await connection.execute(query("keep_writers_out"))
            parts = await _parts(connection)
            due = [first for first in sorted(parts) if _next(first) <= before]
            months = [await _decide(connection, first, even_open=even_open) for first in due]
            for month in months:
                if month.dropped and not dry_run:
                    await _drop(connection, month.first, parts[month.first])
            return tuple(months)
    except psycopg.Error as error:
        raise explained(error, conninfo) from None


async def _parts(connection: AsyncConnection[Any]) -> dict[datetime, list[str]]:
    cursor = await connection.execute(query("parts"))
    parts: dict[datetime, list[str]] = {}
    for name, _ in await cursor.fetchall():
        if match := _PART.fullmatch(name):
            parts.setdefault(datetime(int(match[2]), int(match[3]), 1, tzinfo=UTC), []).append(name)
    return parts


async def _decide(connection: AsyncConnection[Any], first: datetime, *, even_open: bool) -> Month:
    cursor = await connection.execute(query("alive"), _span(first))
    row = await cursor.fetchone()
    claims, instances = (int(row[0]), int(row[1])) if row is not None else (0, 0)
    return Month(first, even_open or (claims == 0 and instances == 0), claims, instances)


async def _drop(connection: AsyncConnection[Any], first: datetime, parts: list[str]) -> None:
    for part in parts:
        await connection.execute(SQL("DROP TABLE agentpool.{}").format(Identifier(part)))
    await connection.execute(query("forget_claims"), _span(first))
    await connection.execute(query("forget_instances"), _span(first))


def _span(first: datetime) -> dict[str, datetime]:
    return {"first": first, "next": _next(first)}


def _next(first: datetime) -> datetime:
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
