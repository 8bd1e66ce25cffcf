"""Fixtures for tests that need Postgres: loaded for every folder by tests/conftest.py.

DATABASE_URL is used where it is set. Else a private server is started once for the whole run, shared by all its
workers, and ended with the run. Every test has a database of its own.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString, NoReturn
from urllib.parse import quote, urlencode

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from controller.demo.postgres import LackingError, PrivatePostgres, why_not

_FOLDER = "AGENTPOOL_TEST_POSTGRES"
"""Where the run's private server is to live: set by the process that ends it, inherited by its workers."""
_OURS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of a private server, before any worker is started."""
    if not hasattr(config, "workerinput"):
        # Short, since its socket is below it.
        config.stash[_OURS] = Path(tempfile.mkdtemp(prefix="ap-"))
        config.stash[_OURS].chmod(0o755)  # the server's user has to pass through
        os.environ[_FOLDER] = str(config.stash[_OURS])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the private server, if one was started: every worker has ended by now."""
    folder = config.stash.get(_OURS, None)
    if folder is None:
        return
    if (folder / "postgres").exists():
        PrivatePostgres(folder / "postgres").remove()
    shutil.rmtree(folder, ignore_errors=True)


def find_or_start_postgres() -> str:
    """The URL of DATABASE_URL's server, or of this run's private one; skips or fails where there is none."""
    if given := os.environ.get("DATABASE_URL"):
        return given
    if lack := why_not():
        _cannot(f"DATABASE_URL is not set, and {lack}")
    folder = Path(os.environ[_FOLDER])
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server, lacking = PrivatePostgres(folder / "postgres"), folder / "lacking"
        if lacking.exists():
            _cannot(lacking.read_text(encoding="utf-8"))  # nobody fetches for nothing twice
        try:
            server.start()
        except LackingError as error:
            lacking.write_text(str(error), encoding="utf-8")
            _cannot(str(error))
        return server.url()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A database of a server that answers, from which others can be made."""
    return find_or_start_postgres()


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    """An empty database of the test's own."""
    with fresh_database(postgres_url) as url:
        yield url


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """A new database beside that of the URL, removed at the end whoever is still connected."""
    name = f"ap_test_{secrets.token_hex(6)}"
    _run(server, "CREATE DATABASE {}", name)
    try:
        yield with_parts(server, dbname=name)
    finally:
        _run(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def with_parts(url: str, **changes: str) -> str:
    """The same URL with parts of it exchanged: dbname, user, password, host, port."""
    parts = {name: str(value) for name, value in conninfo_to_dict(url).items()} | changes
    user, password = quote(parts.pop("user", ""), safe=""), quote(parts.pop("password", ""), safe="")
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    database = quote(parts.pop("dbname", ""), safe="")
    return f"postgresql://{login}/{database}?{urlencode(parts)}"


def _run(server: str, statement: LiteralString, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL(statement).format(Identifier(name)))


def _cannot(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_POSTGRES") == "1":
        pytest.fail(f"REQUIRE_POSTGRES=1, but {reason}", pytrace=False)
    pytest.skip(reason)
