"""The whole program with a ledger, on the API servers of ``tests/e2e``."""

from tests.e2e.conftest import _tools, launch, server

__all__ = ["_tools", "launch", "server"]
