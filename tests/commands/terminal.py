"""Where commands are typed: what they print, and how they end."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests.e2e.commands import EXECUTABLE, LIGHT, MISTAKES, may_fork, nursery
from tests.e2e.waiting import DEADLINE


@dataclass(frozen=True)
class Done:
    """A command that has ended; a negative code is the signal that ended it."""

    code: int
    out: bytes
    said: str
    """What it wrote to standard error."""


class Terminal:
    """Starts agentpool commands in an environment of its own."""

    def __init__(self, folder: Path, **env: str) -> None:
        hidden = ("AGENTPOOL_", "KUBECONFIG", "DOCKER_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        self.env = {**inherited, **LIGHT, "HOME": str(folder), **env}
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str, **env: str) -> Done:
        """A command that ends by itself."""
        environment = {**self.env, **env}
        # The ledger's read no kubeconfig: to them it is the same where the user's home is.
        if arguments[0] != "ledger" or not may_fork({**environment, "HOME": os.environ["HOME"]}):
            return self.end_of(self.start(*arguments, **env))
        with TemporaryFile() as out, TemporaryFile() as said:
            where = (self.folder, out.fileno(), said.fileno())
            code = nursery().start([str(EXECUTABLE), *arguments], environment, *where).wait(2 * DEADLINE)
            out.seek(0)
            said.seek(0)
            return _without_mistakes(Done(code, out.read(), said.read().decode()))

    def end_of(self, process: "subprocess.Popen[bytes]") -> Done:
        out, said = process.communicate(timeout=2 * DEADLINE)
        return _without_mistakes(Done(process.returncode, out or b"", said.decode()))

    def start(self, *arguments: str, stdout: Any = subprocess.PIPE, **env: str) -> "subprocess.Popen[bytes]":
        """A command that runs on."""
        process = subprocess.Popen(
            [str(EXECUTABLE), *arguments],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process


def _without_mistakes(done: Done) -> Done:
    assert not any(mistake in done.said for mistake in MISTAKES), done.said
    return done
