"""The agentpool command at work beside an operator of its own, on the standalone API server."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.terminal import Terminal
from tests.e2e.system import System, set_up


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Whoever runs the tests in the background may have SIGINT ignored, and every child inherits that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An operator with the process backend."""
    system = set_up("standalone", tmp_path_factory.mktemp("system"), None, AGENTPOOL_BACKENDS="process")
    yield system
    try:
        system.command.check_output()
    finally:
        system.erase()


@pytest.fixture
def terminal(system: System, tmp_path: Path) -> Iterator[Terminal]:
    """Where commands are typed, with the kubeconfig and the state directory of the operator."""
    terminal = Terminal(
        tmp_path,
        KUBECONFIG=str(system.api.kubeconfig),
        AGENTPOOL_STATE_DIR=str(system.instances_root.parent),
    )
    yield terminal
    for process in terminal.started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)
