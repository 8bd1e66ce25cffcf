"""What becomes of a test that needs an engine where there is none."""

import pytest

from tests.docker import plugin

WHY = "a private Docker engine needs root"


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "answering_engine", lambda: None)
    monkeypatch.setattr(plugin, "why_no_engine", lambda: WHY)
    monkeypatch.delenv("REQUIRE_DOCKER", raising=False)


def test_it_is_skipped_and_told_what_is_missing() -> None:
    with pytest.raises(pytest.skip.Exception, match=f"^no Docker engine answers, and {WHY}$"):
        plugin.find_or_start_engine()


def test_it_fails_where_docker_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_DOCKER", "1")
    with pytest.raises(pytest.fail.Exception, match=f"REQUIRE_DOCKER=1, but no Docker engine answers, and {WHY}"):
        plugin.find_or_start_engine()
