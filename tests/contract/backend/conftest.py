"""Every implementation of the Backend port, each in a world of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.ports import Backend
from tests.contract.backend.docker_harness import DockerHarness
from tests.contract.backend.harness import Harness, ProcessHarness


@pytest.fixture(params=["process", "docker"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """A world without instances, of each implementation that this host can have."""
    world: Harness
    if request.param == "docker":
        world = DockerHarness(request.getfixturevalue("docker_host"), request.getfixturevalue("stub_image"))
    else:
        world = ProcessHarness(tmp_path / "instances")
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


@pytest.fixture
async def containers(docker_host: str, stub_image: str) -> AsyncIterator[DockerHarness]:
    """The world of the docker backend, for what only that can do."""
    world = DockerHarness(docker_host, stub_image)
    yield world
    await world.close()
