"""What the supervisor has to know of a gateway; the kinds differ in these values and in nothing else."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.log import Log
from agent.offspring import Main
from agent.settings import Settings


@dataclass(frozen=True, slots=True)
class Gateway:
    """How one kind of gateway is started and asked whether it is ready.

    Whatever runs is given `--announce-fd N` as its last arguments: it writes the port it listens on to that
    descriptor, and it ends when its standard input does.
    """

    name: str
    command: tuple[str, ...]
    token: str = field(repr=False)
    """What opens the gateway. Made anew at each start of the supervisor, and known to nobody outside."""
    environment: Mapping[str, str] = field(repr=False)
    """The whole environment."""
    directory: Path | None = None
    readiness_path: str | None = None
    """Answers 200 with JSON once the gateway is ready; None: its /convos/status says all there is to know."""
    instruction_blocks: tuple[str, ...] = ()
    """Files of the workspace that carry the instructions in a marked block, besides INSTRUCTIONS.md."""
    grace_seconds: float = 3.0
    """How long it has between SIGTERM and SIGKILL."""
    load: Callable[[], Main] | None = None
    """Loads what the command runs, where that is Python of our own: then its first start may be a fork."""


def loopback(settings: Settings, environment: Mapping[str, str]) -> Gateway:
    """The loopback conversation service; the lifeline makes it end with its supervisor."""
    command = (sys.executable, "-m", "agent.loopback", "--lifeline", "--port", str(settings.gateway_port))
    token = new_token()
    return Gateway("loopback", command, token, inner_environment(settings, environment, token), load=_load_loopback)


def _load_loopback() -> Main:
    from agent.loopback.__main__ import main  # noqa: PLC0415 - not for who runs OpenClaw

    return main


def new_token() -> str:
    """A token for a gateway."""
    return secrets.token_hex(32)


def inner_environment(settings: Settings, environment: Mapping[str, str], token: str) -> dict[str, str]:
    """The supervisor's own, with the gateway's token where gateways look for one, and the instance's beside it."""
    return {**environment, "OPENCLAW_GATEWAY_TOKEN": token, "AGENT_TOKEN": settings.token}


def prepare(settings: Settings, environment: Mapping[str, str], log: Log) -> Gateway:
    """Set up what the chosen gateway needs in the state directory; SettingsError or OSError when it cannot be."""
    match settings.gateway:
        case "loopback":
            return loopback(settings, environment)
        case "openclaw":
            # Imported only when chosen: a loopback instance does not wait for what it does not use.
            from agent.openclaw.gateway import openclaw  # noqa: PLC0415

            return openclaw(settings, environment, log)
