"""The SQLite file: objects as they are and the events that made them, committed in batches by one thread."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from controller.standalone.statuses import ApiError, StandaloneError

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, object BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    rv INTEGER PRIMARY KEY, type TEXT NOT NULL, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    object BLOB NOT NULL
);
"""
TRIM_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One change: `type` is ADDED, MODIFIED or DELETED, `object` the encoded object after it."""

    rv: int
    type: str
    resource: str
    namespace: str
    name: str
    object: bytes


class Disk:
    """One database; every call runs on its own thread, so the event loop never waits for the disk."""

    def __init__(self, path: Path, history: int) -> None:
        self._path = path
        self._history = history
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="standalone-disk")
        self._database: sqlite3.Connection | None = None
        self._untrimmed = 0

    async def open(self) -> tuple[list[tuple[str, bytes]], list[Row]]:
        """Open or create the file; return every (resource, object) and the events kept, oldest first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def commit(self, rows: Sequence[Row]) -> None:
        """Make all rows durable, or none: raises the ApiError to answer when the disk will not have them."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, rows)

    async def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _open(self) -> tuple[list[tuple[str, bytes]], list[Row]]:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            database = self._database = sqlite3.connect(self._path, isolation_level=None)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, SCHEMA_VERSION}:
                raise StandaloneError(
                    f"{self._path} was written by another version of agentpool (format {version}, this one reads "
                    f"{SCHEMA_VERSION}): use that version, or another data directory"
                )
            database.executescript(SCHEMA)
            database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            objects = database.execute("SELECT resource, object FROM objects").fetchall()
            query = "SELECT * FROM (SELECT * FROM events ORDER BY rv DESC LIMIT ?) ORDER BY rv"
            return objects, [Row(*row) for row in database.execute(query, (self._history,))]
        except (sqlite3.Error, OSError) as error:
            raise StandaloneError(
                f"cannot open the database {self._path}: {error}; check its permissions and the free space, "
                "or move the file away to start empty"
            ) from error

    def _commit(self, rows: Sequence[Row]) -> None:
        database = self._database
        if database is None:
            raise ApiError(503, "ServiceUnavailable", "the server is stopping")
        try:
            database.execute("BEGIN IMMEDIATE")
            for row in rows:
                if row.type == "DELETED":
                    database.execute(
                        "DELETE FROM objects WHERE resource=? AND namespace=? AND name=?",
                        (row.resource, row.namespace, row.name),
                    )
                else:
                    database.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?,?,?,?)",
                        (row.resource, row.namespace, row.name, row.object),
                    )
            database.executemany(
                "INSERT INTO events VALUES (?,?,?,?,?,?)",
                [(row.rv, row.type, row.resource, row.namespace, row.name, row.object) for row in rows],
            )
            self._untrimmed += len(rows)
            if self._untrimmed >= TRIM_EVERY:
                database.execute("DELETE FROM events WHERE rv <= ?", (rows[-1].rv - self._history,))
                self._untrimmed = 0
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(database)
            raise self._refusal(error) from error

    def _roll_back(self, database: sqlite3.Connection) -> None:
        try:
            if database.in_transaction:
                database.execute("ROLLBACK")
        except sqlite3.Error:
            # SQLite has already undone the transaction by itself after some I/O errors.
            return

    def _refusal(self, error: sqlite3.Error) -> ApiError:
        where = f"nothing was stored: {error} ({self._path.parent})"
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return ApiError(507, "InsufficientStorage", f"{where}; free some space there and try again")
        return ApiError(500, "InternalError", f"{where}; check that the disk is writable and has space, then try again")

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
