"""Starts an instance: `python -m agent`, configured by the environment."""

from __future__ import annotations

import asyncio
import os
import sys

from agent import __version__
from agent.errors import SettingsError
from agent.gateway import Gateway, prepare
from agent.log import Log, configure
from agent.settings import Settings
from agent.supervisor import run


def main() -> None:
    """Run the instance and exit with its status; 2 when the settings do not make sense."""
    configure("agent")
    log = Log("agent")
    try:
        settings = Settings.from_environment(os.environ)
        gateway = _set_up(settings, log)
    except SettingsError as error:
        sys.exit(_complain(str(error)))
    log.info("starting", version=__version__, gateway=gateway.name, state_dir=settings.state_dir)
    status = asyncio.run(run(settings, gateway, log))
    log.info("ended", status=status)
    sys.exit(status)


def _set_up(settings: Settings, log: Log) -> Gateway:
    """Bring the state directory in order: here, since a platform's start command may bypass an image's entry point."""
    try:
        if settings.former_state_dir is not None:
            # Imported only for a volume: an instance without one starts the sooner.
            from agent.volume import move_to_volume  # noqa: PLC0415

            move_to_volume(settings.former_state_dir, settings.state_dir, log)
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"OPENCLAW_STATE_DIR cannot be made: {error.strerror} ({error.filename}).") from error
    try:
        return prepare(settings, os.environ, log)
    except OSError as error:
        raise SettingsError(f"The state directory cannot be set up: {error.strerror} ({error.filename}).") from error


def _complain(sentence: str) -> int:
    sys.stderr.write(f"agent: {sentence}\n")
    return 2


if __name__ == "__main__":
    main()
