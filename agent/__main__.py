"""Starts an instance: `python -m agent`, configured by the environment."""

from __future__ import annotations

import asyncio
import os
import sys

from agent import __version__
from agent.errors import SettingsError
from agent.log import Log, configure
from agent.settings import Settings
from agent.supervisor import run


def main() -> None:
    """Run the instance and exit with its status; 2 when the settings do not make sense."""
    try:
        settings = Settings.from_environment(os.environ)
        settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except SettingsError as error:
        sys.exit(_complain(str(error)))
    except OSError as error:
        sys.exit(_complain(f"OPENCLAW_STATE_DIR cannot be made: {error.strerror} ({error.filename})."))
    configure("agent")
    log = Log("agent")
    log.info("starting", version=__version__, state_dir=settings.state_dir)
    status = asyncio.run(run(settings, log))
    log.info("ended", status=status)
    sys.exit(status)


def _complain(sentence: str) -> int:
    sys.stderr.write(f"agent: {sentence}\n")
    return 2


if __name__ == "__main__":
    main()
