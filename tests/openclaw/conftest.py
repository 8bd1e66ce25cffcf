"""Starts instances whose gateway is npm's OpenClaw."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.agent.conftest import Instance
from tests.openclaw.installation import installation

if TYPE_CHECKING:
    from tests.openclaw.installation import Installation

PLUGIN = Path(__file__).with_name("plugin")
NewOpenClaw = Callable[[Path], "Instance"]


class OpenClawInstance(Instance):
    """An instance that takes its time."""

    deadline_seconds = 180.0
    pause_seconds = 0.25  # looking costs the processor that it boots on


@pytest.fixture(scope="session")
def openclaw() -> Installation:
    """The installation; only with REQUIRE_OPENCLAW=1, as it needs two gigabytes and the machine to itself."""
    if os.environ.get("REQUIRE_OPENCLAW") != "1":
        pytest.skip("npm's OpenClaw is for make test-openclaw")
    found = installation()
    if not found.complete:
        pytest.fail("npm's OpenClaw is not installed: run make test-openclaw")
    return found


@pytest.fixture(scope="session")
def start_openclaw(openclaw: Installation) -> Callable[[Path], Instance]:
    """Starts an instance on a state directory."""

    def start(state_dir: Path) -> Instance:
        instance = OpenClawInstance(
            state_dir,
            {
                "AGENT_GATEWAY": "openclaw",
                "OPENCLAW_COMMAND": shlex.join(openclaw.command),
                "OPENCLAW_PRIMARY_MODEL": "openrouter/anthropic/claude-sonnet-4-6",
                "AGENT_PLUGINS": str(PLUGIN),
                "GATEWAY_PORT": "0",
            },
        )
        instance.start()
        return instance

    return start


@pytest.fixture
def instance(start_openclaw: Callable[[Path], Instance], tmp_path: Path) -> Iterator[Instance]:
    """An instance of the test's own."""
    started = start_openclaw(tmp_path / "instance")
    yield started
    started.end()


@pytest.fixture(scope="session")
def idle(start_openclaw: Callable[[Path], Instance], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance shared by the tests that leave it as it was."""
    started = start_openclaw(tmp_path_factory.mktemp("openclaw") / "idle")
    yield started
    started.end()
