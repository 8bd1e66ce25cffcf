"""How a ledger is named, and what stands in for one where none is."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from controller.errors import Misconfigured
from controller.ledger import LedgerOptions, open_ledger
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


def test_a_strict_one_needs_a_database() -> None:
    with pytest.raises(ValidationError, match="no database is named: set AGENTPOOL_DATABASE_URL or DATABASE_URL"):
        Settings(ledger_strict=True)
