"""Every implementation of the Backend port, each in a world of its own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controller.ports import Backend
from tests.contract.backend.docker_harness import DockerHarness
from tests.contract.backend.harness import Harness, ProcessHarness
from tests.contract.backend.railway_harness import RailwayHarness
from tests.railway import Settings, Twin


@pytest.fixture(params=["process", "docker", "railway"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    """A world without instances, of each implementation that this host can have."""
    async with AsyncExitStack() as stack:
        world: Harness
        if request.param == "docker":
            world = DockerHarness(request.getfixturevalue("docker_host"), request.getfixturevalue("stub_image"))
        elif request.param == "railway":
            world = RailwayHarness(await stack.enter_async_context(Twin(settings=Settings(draining=0.2))))
        else:
            world = ProcessHarness(tmp_path / "instances")
        stack.push_async_callback(world.close)
        yield world


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
