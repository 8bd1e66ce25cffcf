"""The database: a pool of connections, and every wait for Postgres bounded."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from controller.errors import Refused, Transient
from controller.ledger.entries import month_of
from controller.ledger.queries import query
from controller.ledger.schema import check_version, migrate, schema_version
from controller.ledger.troubles import explained, where

# It tells of every try, with its traceback; the ledger says once what is wrong.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


class Database:
    """Postgres, as the operator uses it. Methods raise ``AgentpoolError`` with a sentence for a person."""

    def __init__(self, conninfo: str, *, answer_seconds: float = 12.0) -> None:
        """``answer_seconds``: an answer that takes longer is given up, and its connection with it."""
        self.conninfo = conninfo
        self._answer_seconds = answer_seconds
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] | None = None
        self._months: set[datetime] = set()
        self._in_use: set[AsyncConnection[Any]] = set()
        self._humble: WeakSet[AsyncConnection[Any]] = WeakSet()
        """Those that have no rights but what the operator needs."""

    @property
    def place(self) -> str:
        """Which one it is, for people."""
        return where(self.conninfo)

    async def migrate(self) -> None:
        """Bring its schema up to date."""
        await migrate(self.conninfo)

    async def check(self) -> None:
        """Whether it answers, has the schema that this program is made for, and is written to as by an operator."""
        async with self._connection() as connection:
            check_version(await schema_version(connection), self.conninfo)
            await self._leave_rights_behind(connection)

    async def write(self, items: list[bytes]) -> int:
        """Take in a batch, all or nothing; answers how many were new."""
        months = {month_of(item) for item in items} - self._months
        async with self._connection() as connection:
            await self._leave_rights_behind(connection)
            for month in sorted(months):
                await connection.execute(query("ensure_month"), {"moment": month})
                self._months.add(month)
            cursor = await connection.execute(
                query("record"), {"records": (b"[" + b",".join(items) + b"]").decode("utf-8")}
            )
            row = await cursor.fetchone()
            return int(row[0]) if row is not None else 0

    def forget_months(self) -> None:
        """Somebody may have pruned what was there."""
        self._months.clear()

    def cut(self) -> None:
        """Break off whatever is under way."""
        for connection in tuple(self._in_use):
            _shut(connection)

    async def close(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(timeout=2.0)

    async def _leave_rights_behind(self, connection: AsyncConnection[Any]) -> None:
        """Put on the operator's role. ``Refused``: that cannot be, and with its own rights it could alter history."""
        # Not when it is opened: the role may be made, or granted, while it is there.
        if connection in self._humble:
            return
        await connection.execute(query("put_on_role"))
        cursor = await connection.execute(query("who_could_alter"))
        row = await cursor.fetchone()
        if row is not None:
            raise Refused(
                "TooManyRights",
                f"in {self.place} the ledger comes with the rights of an owner, who could alter history, and may not "
                f"put on the role agentpool_operator to leave them behind: run 'GRANT agentpool_operator TO {row[0]}'",
            )
        self._humble.add(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        pool = await self._opened()
        try:
            async with pool.connection() as connection:
                self._in_use.add(connection)
                # A cancelled psycopg waits for the server once more. Cutting the line cannot be waited out.
                alarm = asyncio.get_running_loop().call_later(self._answer_seconds, _shut, connection)
                try:
                    yield connection
                finally:
                    alarm.cancel()
                    self._in_use.discard(connection)
        except PoolTimeout:
            raise await self._why_no_connection() from None
        except psycopg.Error as error:
            raise explained(error, self.conninfo) from None

    async def _opened(self) -> AsyncConnectionPool[AsyncConnection[Any]]:
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self.conninfo,
                kwargs={"autocommit": True, "prepare_threshold": None},
                min_size=0,
                max_size=2,
                timeout=2.0,
                # It gives up soon, so that the next one who asks begins anew instead of waiting for a long pause.
                reconnect_timeout=1.0,
                max_idle=120.0,
                configure=_begin,
                open=False,
            )
            await self._pool.open()
        return self._pool

    async def _why_no_connection(self) -> Transient:
        """The pool does not say why it got none: ask once without it."""
        try:
            async with asyncio.timeout(6.0):
                connection = await AsyncConnection.connect(self.conninfo)
            await connection.close()
        except TimeoutError:
            return Transient(f"{self.place} does not answer: see whether it runs, and whether a firewall is between")
        except psycopg.Error as error:
            return Transient(str(explained(error, self.conninfo)))
        return Transient(f"{self.place} had no connection to give in time")


async def _begin(connection: AsyncConnection[Any]) -> None:
    """Limit what it may wait for."""
    await connection.execute(query("begin_session"))


def _shut(connection: AsyncConnection[Any]) -> None:
    if connection.closed:
        return
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        pass
