"""What the supervisor has to know of a gateway; the kinds differ in these values and in nothing else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.log import Log
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Gateway:
    """How one kind of gateway is started and asked whether it is ready.

    Whatever runs is given `--announce-fd N` as its last arguments: it writes the port it listens on to that
    descriptor, and it ends when its standard input does.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    """The whole environment; None: the supervisor's own."""
    directory: Path | None = None
    readiness_path: str | None = None
    """Answers 200 with JSON once the gateway is ready; None: its /convos/status says all there is to know."""
    instruction_blocks: tuple[str, ...] = ()
    """Files of the workspace that carry the instructions in a marked block, besides INSTRUCTIONS.md."""
    grace_seconds: float = 3.0
    """How long it has between SIGTERM and SIGKILL."""


def loopback(settings: Settings) -> Gateway:
    """The loopback conversation service; the lifeline makes it end with its supervisor."""
    command = (sys.executable, "-m", "agent.loopback", "--lifeline", "--port", str(settings.gateway_port))
    return Gateway(name="loopback", command=command)


def prepare(settings: Settings, environment: Mapping[str, str], log: Log) -> Gateway:
    """Set up what the chosen gateway needs in the state directory; SettingsError or OSError when it cannot be."""
    match settings.gateway:
        case "loopback":
            return loopback(settings)
        case "openclaw":
            # Imported only when chosen: a loopback instance does not wait for what it does not use.
            from agent.openclaw.gateway import openclaw  # noqa: PLC0415

            return openclaw(settings, environment, log)
