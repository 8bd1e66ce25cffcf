"""How a ledger is named, and what stands in for one where none is."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from controller.errors import Misconfigured
from controller.ledger import LedgerOptions, open_ledger
from controller.ledger.troubles import checked, where
from controller.settings import Settings
from tests.ledger.conftest import Clock


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "AGENTPOOL_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_database_there_is_none() -> None:
    assert Settings().ledger_options() is None


def test_it_has_a_directory_of_its_own_below_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    options = Settings(state_dir=Path("/somewhere"), ledger_spool_megabytes=2).ledger_options()
    assert options == LedgerOptions("postgresql://h/d", Path("/somewhere/ledger"), 2 * 1024 * 1024)


def test_the_operators_own_variable_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://everybodys")
    monkeypatch.setenv("AGENTPOOL_DATABASE_URL", "postgresql://its-own")
    options = Settings().ledger_options()
    assert options is not None
    assert options.url == "postgresql://its-own"


def test_its_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@h/d")
    assert "canary" not in f"{Settings()!r} {Settings().ledger_options()!r}"


def test_a_url_that_cannot_be_one_is_told_before_anything_begins(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(Misconfigured, match="DATABASE_URL must begin with postgresql://"):
        open_ledger(LedgerOptions("sqlite:///x", tmp_path), clock)


@pytest.mark.parametrize(
    "password",
    [
        "canary/b",
        "canary@b",
        "a@canary",
        "a:canary/",
        "a/canary@b",
        "canary[/b",
        "[canary]/b",
        "canary\uff1f/",
        "canary%zz",
    ],
)
def test_a_password_that_is_not_encoded_does_not_pass_for_a_host(password: str, tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(Misconfigured, match="percent-encoded") as error:
        open_ledger(LedgerOptions(f"postgresql://me:{password}@db:5432/agentpool", tmp_path), clock)
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@db/agentpool",
        "postgresql://me:a%2Fb%40c@one:1,two:2/agentpool",
        "postgresql:///agentpool?host=%2Fvar%2Frun",
        "host=db port=5432 user=me@domain password=a/b@c",
        "postgresql://me:a[b@db/agentpool",
        "postgresql://me:a]b@db/agentpool",
        "postgresql://me:[a]@db/agentpool",
        "postgresql://me:a\uff1fb@db/agentpool",
    ],
)
def test_a_url_that_libpq_takes_is_taken(url: str, tmp_path: Path, clock: Clock) -> None:
    open_ledger(LedgerOptions(url, tmp_path), clock)


@pytest.mark.parametrize("scheme", ["mysql", "[canary", "me:canary@"])
def test_a_url_of_something_else_is_refused_without_a_word_of_it(scheme: str, tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(Misconfigured, match="must begin with postgresql://") as error:
        open_ledger(LedgerOptions(f"{scheme}://me:canary[\uff1f@db/agentpool", tmp_path), clock)
    assert "canary" not in str(error.value)


def test_what_passes_for_a_user_is_not_named_as_the_database() -> None:
    assert where(checked("postgresql://me%3Acanary@db:5432")) == "database of its user's name at db:5432"


def test_a_strict_one_needs_a_database() -> None:
    with pytest.raises(ValidationError, match="no database is named: set AGENTPOOL_DATABASE_URL or DATABASE_URL"):
        Settings(ledger_strict=True)
