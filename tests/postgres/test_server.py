"""The private Postgres itself."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from controller.demo import debian, postgres
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


@pytest.mark.skipif(postgres.why_not(fetching=False) is not None, reason="there is no Postgres on this host")
def test_who_ends_what_another_process_started_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    programs, fetched = postgres._binaries(), []

    def none() -> Path:
        raise postgres.LackingError("there is none")

    def unpack(folder: Path) -> None:
        fetched.append(folder)
        if len(fetched) > 1:
            raise OSError("the mirror is gone")
        version = folder / "root" / "usr" / "lib" / "postgresql" / "15"
        version.mkdir(parents=True)
        (version / "bin").symlink_to(programs)

    monkeypatch.setattr(postgres, "_binaries", none)
    monkeypatch.setattr(debian, "why_not", lambda: None)
    monkeypatch.setattr(debian, "unpack_postgres", unpack)
    server = postgres.PrivatePostgres.somewhere()
    try:
        server.start()
        with psycopg.connect(server.url()) as connection:
            postgres.PrivatePostgres(server.directory).remove()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert fetched == [server.directory / "package"]
        assert not server.directory.exists()
    finally:
        server.remove()


def test_half_a_package_is_never_taken_for_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The download ends while packages are unpacked; then it is tried again."""

    def run(command: list[str], _: Path) -> str:
        if command[0] == "dpkg-deb":
            server = Path(command[-1]) / "usr" / "lib" / "postgresql" / "15" / "bin"
            server.mkdir(parents=True, exist_ok=True)
            (server / "initdb").touch()
            if broken:
                raise OSError("dpkg-deb failed")
        if "download" in command:
            (tmp_path / "packages" / "server.deb").touch()
        return "Depends: postgresql-15" if "depends" in command else ""

    monkeypatch.setattr(debian, "_run", run)
    broken = True
    with pytest.raises(OSError, match="dpkg-deb failed"):
        debian.unpack_postgres(tmp_path)
    assert not debian.root_below(tmp_path).exists()
    broken = False
    debian.unpack_postgres(tmp_path)
    assert list(debian.root_below(tmp_path).glob("usr/lib/postgresql/*/bin/initdb"))


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
