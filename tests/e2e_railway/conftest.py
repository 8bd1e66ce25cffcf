"""The whole program with a twin of Railway, whose services are real processes of the agent.

API servers are those of ``tests/e2e``: the standalone one, and with ``AGENTPOOL_TEST_KUBECONFIG`` a genuine one.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import _tools, server
from tests.e2e.system import unique
from tests.e2e_railway.stage import RailwaySystem, set_up_railway
from tests.railway import TwinProcess

__all__ = ["_tools", "server"]

Launch = Callable[..., RailwaySystem]


@pytest.fixture(scope="session")
def shared(server: tuple[str, Path | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RailwaySystem]:
    """One system that all tests use which leave the operator alone."""
    kind, genuine = server
    with TwinProcess() as twin:
        system = set_up_railway(kind, tmp_path_factory.mktemp(kind), genuine, twin)
        yield system
        try:
            assert system.command.stop() == 0
            system.command.check_output()
        finally:
            system.erase()


@pytest.fixture
def system(shared: RailwaySystem) -> Iterator[RailwaySystem]:
    """The shared system; afterwards its log must be free of mistakes."""
    yield shared
    assert shared.command.running, shared.command.output
    shared.command.check_output()


@pytest.fixture
def name(system: RailwaySystem) -> Iterator[str]:
    """A name that begins the names of everything that the test creates, and by which it is removed."""
    name = unique("t")
    yield name
    system.twin.set_faults({}, clear=True)
    system.remove(name)


@pytest.fixture
def launch(server: tuple[str, Path | None], tmp_path: Path) -> Iterator[Launch]:
    """Starts a system and a twin of the test's own: ``launch(plan=..., settings=..., faults=..., env=...)``."""
    kind, genuine = server
    systems: list[RailwaySystem] = []
    with ExitStack() as stack:

        def launch(env: dict[str, str] | None = None, **twin: Any) -> RailwaySystem:
            folder = tmp_path / f"system{len(systems)}"
            folder.mkdir()
            railway = stack.enter_context(TwinProcess(**twin))
            systems.append(set_up_railway(kind, folder, genuine, railway, **(env or {})))
            return systems[-1]

        yield launch
        try:
            for system in systems:
                system.command.check_output()
        finally:
            for system in systems:
                system.erase()
