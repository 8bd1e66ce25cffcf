"""Every implementation of the Backend port, each in a world of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.ports import Backend
from tests.contract.backend.harness import Harness, ProcessHarness

WORLDS = {"process": ProcessHarness}
"""How to make the world of each implementation, in an empty directory."""


@pytest.fixture(params=WORLDS)
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """A world without instances."""
    world = WORLDS[request.param](tmp_path / "instances")
    yield world
    await world.close()


@pytest.fixture
async def backend(harness: Harness) -> Backend:
    """A backend that has started in it."""
    return await harness.make()


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[ProcessHarness]:
    """The world of the process backend, for what only that can do."""
    world = ProcessHarness(tmp_path / "instances")
    yield world
    await world.close()
