"""The schema: plain SQL files, applied in order and never back, by one program at a time."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from controller.errors import Misconfigured, Refused
from controller.ledger.queries import query
from controller.ledger.troubles import MIGRATE, explained, where

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")
_LOCK = 4_716_209_117
"""Key of the advisory lock under which migrations run: any number that nobody else uses."""
_FOUNDATION = SQL(
    """
    CREATE SCHEMA IF NOT EXISTS agentpool;
    CREATE TABLE IF NOT EXISTS agentpool.migrations (
        version    integer PRIMARY KEY,
        name       text NOT NULL,
        checksum   text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        applied_by text NOT NULL DEFAULT current_user
    );
    """
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Of its text: an applied file that was edited afterwards is found by it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """All that this program knows, in order."""
    found = []
    for file in (files("controller.ledger") / "migrations").iterdir():
        if match := _FILE.fullmatch(file.name):
            found.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda each: each.version))


def newest() -> int:
    """The version of the schema that this program is made for."""
    return migrations()[-1].version


async def migrate(conninfo: str, steps: Sequence[Migration] | None = None) -> tuple[Migration, ...]:
    """Apply what is missing; answers what was. All of it or nothing: the whole is one transaction.

    Others that migrate at the same time wait, and then find it done.
    """
    steps = migrations() if steps is None else steps
    try:
        async with await AsyncConnection.connect(conninfo) as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            await _lay_foundation(connection)
            applied = await _applied(connection)
            _compare(applied, steps, conninfo)
            missing = tuple(step for step in steps if step.version not in applied)
            for step in missing:
                await connection.execute(SQL(step.text))
                await connection.execute(
                    "INSERT INTO agentpool.migrations (version, name, checksum) VALUES (%s, %s, %s)",
                    (step.version, step.name, step.checksum),
                )
            return missing
    except psycopg.errors.InsufficientPrivilege as error:
        raise Refused("NoRight", _lacking(error, conninfo)) from None
    except psycopg.Error as error:
        raise explained(error, conninfo) from None


def check_version(found: int, conninfo: str) -> None:
    """Raise unless the schema is the one that this program is made for."""
    if found > newest():
        raise Misconfigured(
            f"the ledger in {where(conninfo)} has schema {found}, but this agentpool knows {newest()} at most: "
            "use the version of agentpool that migrated it, or a later one"
        )
    if found < newest():
        told = f"has schema {found}, but this agentpool needs {newest()}" if found else "has no schema yet"
        raise Refused("NotMigrated", f"the ledger in {where(conninfo)} {told}: {MIGRATE}")


async def schema_version(connection: AsyncConnection[Any]) -> int:
    """The version of the schema that is there; 0 where there is none."""
    try:
        cursor = await connection.execute(query("schema_version"))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        await connection.rollback()
        return 0
    row = await cursor.fetchone()
    return int(row[0]) if row is not None else 0


async def _lay_foundation(connection: AsyncConnection[Any]) -> None:
    cursor = await connection.execute("SELECT to_regclass('agentpool.migrations') IS NULL")
    row = await cursor.fetchone()
    if row is not None and row[0]:
        await connection.execute(_FOUNDATION)


async def _applied(connection: AsyncConnection[Any]) -> dict[int, str]:
    cursor = await connection.execute("SELECT version, checksum FROM agentpool.migrations ORDER BY version")
    return {int(version): str(checksum) for version, checksum in await cursor.fetchall()}


def _compare(applied: dict[int, str], steps: Sequence[Migration], conninfo: str) -> None:
    if applied and max(applied) > newest():
        check_version(max(applied), conninfo)
    for step in steps:
        if step.version in applied and applied[step.version] != step.checksum:
            raise Misconfigured(
                f"migration {step.version:04}_{step.name} of this agentpool is not the one that was applied to "
                f"{where(conninfo)}: use an unchanged agentpool"
            )


def _lacking(error: Exception, conninfo: str) -> str:
    said = str(error).strip().splitlines()[0]
    if "create role" in said:
        user = conninfo_to_dict(conninfo).get("user")
        member = Identifier(str(user)).as_string() if user else "that user"
        return (
            f"the user of DATABASE_URL may not create roles in {where(conninfo)}: have somebody who may run "
            f"'CREATE ROLE agentpool_operator NOLOGIN' and 'GRANT agentpool_operator TO {member}' first, and try again"
        )
    return f"the ledger cannot be migrated in {where(conninfo)} ({said}): come as a user that may create schemas there"
