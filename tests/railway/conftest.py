"""A twin for each test."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.railway import Settings, Twin
from tests.railway.asking import Client


@pytest.fixture
async def twin() -> AsyncIterator[Twin]:
    """A Railway on which nothing goes wrong, and that keeps no limits."""
    settings = Settings(limited=False, initializing=0.0, building=0.02, deploying=0.02, restarting=0.01, removing=0.01)
    async with Twin(seed=7, settings=settings) as each:
        yield each


@pytest.fixture
async def client(twin: Twin) -> AsyncIterator[Client]:
    """A client of it in the environment dev."""
    # There is no TLS, and reading the host's certificates would take longer than most of the tests.
    async with httpx.AsyncClient(timeout=30, trust_env=False, verify=False) as http:
        yield Client(twin, http)
