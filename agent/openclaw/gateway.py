"""OpenClaw's gateway as the supervisor runs it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

from agent.errors import SettingsError
from agent.gateway import Gateway, inner_environment, new_token
from agent.log import Log
from agent.openclaw.config import Kept, Plugin, keep, render
from agent.openclaw.workspace import lay_out
from agent.settings import Settings

# The lifeline gives OpenClaw the first and needs the rest itself; both fit into the ten seconds that platforms grant.
OPENCLAW_GRACE_SECONDS = 5.0
LIFELINE_GRACE_SECONDS = 6.5
_LIFELINE = Path(__file__).with_name("lifeline.py")


def openclaw(settings: Settings, environment: Mapping[str, str], log: Log) -> Gateway:
    """Lay out workspace and configuration in the state directory; SettingsError or OSError when that cannot be."""
    program = _program(settings.openclaw_command, environment)
    plugins = tuple(plugin_in(directory) for directory in settings.plugins)
    port = settings.gateway_port or _free_port()
    state, token = settings.state_dir, new_token()
    environment = inner_environment(settings, environment, token)
    home, workspace, config = state / "home", state / "workspace", state / "openclaw.json"
    for directory in (home, workspace):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lay_out(workspace, state / "workspace.manifest.json")
    kept = keep(
        config,
        render(environment, port=port, workspace=workspace, log_file=state / "logs" / "openclaw.log", plugins=plugins),
    )
    say = log.warning if kept is Kept.UNREADABLE else log.info
    say("openclaw.json", kept=kept.value, path=config)
    # As options these hold even where somebody changed the file.
    options = ("gateway", "run", "--port", str(port), "--bind", "loopback", "--auth", "token")
    lifeline = (sys.executable, "-I", "-S", str(_LIFELINE), str(port), str(OPENCLAW_GRACE_SECONDS))
    return Gateway(
        name="openclaw",
        command=(*lifeline, *program, *options),
        token=token,
        environment=_environment(environment, port=port, state=state, home=home, workspace=workspace, config=config),
        # OpenClaw reads a file .env in the directory where it is started.
        directory=home,
        readiness_path="/readyz",
        instruction_blocks=("AGENTS.md",),
        grace_seconds=LIFELINE_GRACE_SECONDS,
    )


def _program(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    found = shutil.which(command[0], path=environment.get("PATH", os.defpath))
    if found is None and os.sep in command[0]:
        raise SettingsError(
            f"OPENCLAW_COMMAND names {command[0]!r}, which is not an executable file: correct the path."
        )
    if found is None:
        raise SettingsError(
            f"There is no {command[0]!r} on PATH: install it (npm install --global openclaw), "
            "or let OPENCLAW_COMMAND say how it is started."
        )
    return (str(Path(found).absolute()), *command[1:])


def plugin_in(directory: Path) -> Plugin:
    """The plugin whose manifest lies in a directory, or SettingsError."""
    manifest = directory / "openclaw.plugin.json"
    try:
        name = orjson.loads(manifest.read_bytes())["id"]
    except OSError:
        raise SettingsError(f"AGENT_PLUGINS names {directory}, but {manifest} cannot be read.") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        name = None
    if not isinstance(name, str) or not name:
        raise SettingsError(f"AGENT_PLUGINS names {directory}, but {manifest} is not the JSON manifest of a plugin.")
    return Plugin(directory=directory, id=name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(
    environment: Mapping[str, str], *, port: int, state: Path, home: Path, workspace: Path, config: Path
) -> dict[str, str]:
    """The supervisor's, with everything that OpenClaw writes moved into the state directory: the rest is read-only."""
    return {
        # What Node has compiled is kept with the state, and by a golden image: it halves the time to boot.
        "NODE_COMPILE_CACHE": str(state / "compile-cache"),
        **environment,
        "HOME": str(home),
        "OPENCLAW_STATE_DIR": str(state),
        "OPENCLAW_CONFIG_PATH": str(config),
        "OPENCLAW_WORKSPACE_DIR": str(workspace),
        "OPENCLAW_GATEWAY_PORT": str(port),
        # Its process is ours to restart, and it updates with its image.
        "OPENCLAW_NO_RESPAWN": "1",
        "OPENCLAW_NO_AUTO_UPDATE": "1",
        "OPENCLAW_DISABLE_BONJOUR": "1",
    }
