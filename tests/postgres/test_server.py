"""The private Postgres itself."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from controller.demo import postgres
from tests.postgres import plugin


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.postgres", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.skipif(postgres.why_not() is not None, reason="there is no Postgres on this host")
def test_it_is_started_and_ended_by_commands_and_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="ap-") as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent) / "postgres"
        started = command("start", str(folder))
        try:
            assert started.returncode == 0, started.stderr
            url = started.stdout.splitlines()[-1]
            assert command("start", str(folder)).stdout.splitlines()[-1] == url
            with psycopg.connect(url) as connection:
                row = connection.execute("SELECT current_setting('listen_addresses')").fetchone()
                assert row == ("",)
        finally:
            assert command("stop", str(folder)).returncode == 0
        assert list(Path(parent).iterdir()) == []


@pytest.mark.skipif(os.environ.get("AGENTPOOL_TEST_BUILDS") != "1", reason="AGENTPOOL_TEST_BUILDS=1 fetches packages")
def test_where_the_host_has_none_debians_package_is_unpacked_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise postgres.LackingError("there is none")

    monkeypatch.setattr(postgres, "_binaries", none)
    server = postgres.PrivatePostgres.somewhere()
    try:
        server.start()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.remove()
    assert not server.directory.exists()


@pytest.mark.parametrize(
    ("required", "outcome"), [("1", pytest.fail.Exception), ("0", pytest.skip.Exception)], ids=["required", "optional"]
)
def test_where_there_is_none_tests_are_skipped_unless_it_is_required(
    required: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("REQUIRE_POSTGRES", required)
    monkeypatch.setattr(plugin, "why_not", lambda: "there is no Postgres")
    with pytest.raises(outcome, match="DATABASE_URL is not set, and there is no Postgres"):
        plugin.find_or_start_postgres()


def test_a_database_url_that_is_set_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere")
    assert plugin.find_or_start_postgres() == "postgresql://somewhere"


def test_parts_of_a_url_are_exchanged() -> None:
    assert plugin.with_parts("postgresql://u:p%40ss@h:5/d", dbname="e") == "postgresql://u:p%40ss@/e?host=h&port=5"
