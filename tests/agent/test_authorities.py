"""The authorities of the host are read where somebody is asked over TLS, and nowhere else."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from agent.authorities import unread_unless
from tests.e2e.commands import NOBODY


def trusted() -> int:
    return ssl.create_default_context().cert_store_stats()["x509"]


@pytest.mark.parametrize("former", [None, str(NOBODY)], ids=["the host's", "named ones"])
def test_who_asks_nobody_over_tls_reads_none_and_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, former: str | None
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    if former is None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    else:
        monkeypatch.setenv("SSL_CERT_FILE", former)
    with unread_unless(needed=False):
        assert trusted() == 0
    assert os.environ.get("SSL_CERT_FILE") == former


def test_who_does_reads_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(NOBODY))
    with unread_unless(needed=True):
        assert trusted() == 1
