"""The whole program, as a person runs it: on the standalone server, and on a genuine one when there is one.

``AGENTPOOL_TEST_KUBECONFIG`` names the kubeconfig of a genuine API server.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.api import CRDS, Api
from tests.e2e.system import System, set_up, unique
from tests.genuine import GENUINE, SERVERS

Launch = Callable[..., System]


@pytest.fixture(scope="session", autouse=True)
def _tools() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: the end-to-end suite works the way a person does")


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> tuple[str, Path | None]:
    """The name of the API server under test, and the kubeconfig of a genuine one."""
    genuine = Path(os.environ[GENUINE]) if request.param == "genuine" else None
    if genuine is not None:
        Api(genuine, "default").kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
        Api(genuine, "default").kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return request.param, genuine


@pytest.fixture(scope="session")
def shared(server: tuple[str, Path | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system that all tests use which leave the operator alone."""
    kind, genuine = server
    system = set_up(kind, tmp_path_factory.mktemp(kind), genuine)
    yield system
    try:
        assert system.command.stop() == 0
        system.command.check_output()
    finally:
        system.erase()


@pytest.fixture
def system(shared: System) -> Iterator[System]:
    """The shared system; afterwards its log must be free of mistakes."""
    yield shared
    assert shared.command.running, shared.command.output
    shared.command.check_output()


@pytest.fixture
def name(system: System) -> Iterator[str]:
    """A name that begins the names of everything that the test creates, and by which it is removed."""
    name = unique("t")
    yield name
    system.remove(name)


@pytest.fixture
def launch(server: tuple[str, Path | None], tmp_path: Path) -> Iterator[Launch]:
    """Starts a system of the test's own, for tests that are rough with the operator.

    Unlike the shared one it has no other backends than that of local processes: importing them is a sixth of a start.
    """
    kind, genuine = server
    systems: list[System] = []

    def launch(*arguments: str, **env: str) -> System:
        folder = tmp_path / f"system{len(systems)}"
        folder.mkdir()
        env = {"AGENTPOOL_BACKENDS": "process", **env}
        systems.append(set_up(kind, folder, genuine, *arguments, **env))
        return systems[-1]

    yield launch
    try:
        for system in systems:
            system.command.check_output()
    finally:
        for system in systems:
            system.erase()
