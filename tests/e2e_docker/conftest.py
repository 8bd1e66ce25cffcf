"""The whole program with a real Docker engine and the real image of the agent.

API servers are those of ``tests/e2e``: the standalone one, and with ``AGENTPOOL_TEST_KUBECONFIG`` a genuine one.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.docker import image as images
from tests.docker.api import Engine
from tests.docker.engine import PrivateEngine
from tests.docker.plugin import require_own_engine
from tests.e2e.conftest import _tools, server
from tests.e2e.system import unique
from tests.e2e_docker.stage import DockerSystem, set_up_docker

__all__ = ["_tools", "server"]

Launch = Callable[..., DockerSystem]
MakeEngine = Callable[..., PrivateEngine]


@pytest.fixture(scope="session")
def shared(
    server: tuple[str, Path | None], docker_host: str, agent_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerSystem]:
    """One system that all tests use which leave the operator and the engine alone."""
    kind, genuine = server
    system = set_up_docker(kind, tmp_path_factory.mktemp(kind), genuine, docker_host, agent_image)
    yield system
    try:
        assert system.command.stop() == 0
        system.command.check_output()
    finally:
        system.erase()


@pytest.fixture
def system(shared: DockerSystem) -> Iterator[DockerSystem]:
    """The shared system; afterwards its log must be free of mistakes."""
    yield shared
    assert shared.command.running, shared.command.output
    shared.command.check_output()


@pytest.fixture
def name(system: DockerSystem) -> Iterator[str]:
    """A name that begins the names of everything that the test creates, and by which it is removed."""
    name = unique("t")
    yield name
    system.remove(name)


@pytest.fixture
def launch(server: tuple[str, Path | None], tmp_path: Path) -> Iterator[Launch]:
    """Starts a system of the test's own: ``launch(docker_host, image, *arguments, **env)``."""
    kind, genuine = server
    systems: list[DockerSystem] = []

    def launch(docker_host: str, image: str, *arguments: str, **env: str) -> DockerSystem:
        folder = tmp_path / f"system{len(systems)}"
        folder.mkdir()
        systems.append(set_up_docker(kind, folder, genuine, docker_host, image, *arguments, **env))
        return systems[-1]

    yield launch
    try:
        for system in systems:
            system.command.check_output()
    finally:
        for system in systems:
            system.erase()


@pytest.fixture(scope="session")
def make_engine() -> Iterator[MakeEngine]:
    """Prepares engines to be rough with: ``make_engine(live_restore=..., prepare=...)``; they are not started yet."""
    require_own_engine()
    with ExitStack() as stack:

        def make(*, live_restore: bool = False) -> PrivateEngine:
            folder = Path(tempfile.mkdtemp(prefix="ap-"))
            engine = PrivateEngine(folder, live_restore=live_restore)
            stack.callback(engine.remove)
            return engine

        yield make


def image_on(engine: PrivateEngine) -> str:
    """Build the agent's image there; its tag."""
    with closing(Engine(engine.host)) as client:
        return images.agent_image(client)
