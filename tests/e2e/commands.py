"""The agentpool command as a process of its own."""

import atexit
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import httpx

from tests.e2e.nursery import READ_AT_IMPORT, Forked, Nursery
from tests.e2e.waiting import DEADLINE, eventually
from tests.thorough import THOROUGH

EXECUTABLE = Path(sys.executable).parent / "agentpool"
NOBODY = Path(__file__).with_name("nobody.pem")
"""The certificate of an authority whose key was thrown away."""
_DELIVERED = Path(__file__).with_name("as_delivered")
LIGHT = {"SSL_CERT_FILE": str(NOBODY), "PYTHONPATH": str(_DELIVERED)}
"""For programs that are started often: each of the two saves a tenth of it.

No peer in a test is known to the authorities of this host, so none are read; and what only development has is missing.
"""
MISTAKES = ("Traceback", "not foreseen", "does not come to rest", "was repaired", "Exception ignored", "Unclosed")
"""What the output of the operator must never hold: each is a mistake of the program, not of the world."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Command:
    """One agentpool process: it can be killed, stopped and started again with the same arguments."""

    def __init__(self, *arguments: str, log: Path, through: Sequence[str] = (), **env: str) -> None:
        """``through``: a command that becomes this one, having confined itself."""
        self.port = free_port()
        self._arguments = [*through, str(EXECUTABLE), *arguments, "--http-port", str(self.port)]
        self._anew = bool(through)
        self._env = env
        self.changes: dict[str, str] = {}
        """What its next start has in its environment besides."""
        self._log = log
        self._checked = 0
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> "Command":
        environment = _environment({**self._env, **self.changes})
        with self._log.open("ab") as log:
            if self._anew or not may_fork(environment):
                self.process = subprocess.Popen(
                    self._arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
            else:
                where = (Path.cwd(), log.fileno(), log.fileno())
                self.process = nursery().start(self._arguments, environment, *where)
        return self

    def change(self, **env: str) -> None:
        """Start it with these settings besides the next time, and with none of an earlier change."""
        self.changes = env

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def get(self, path: str) -> httpx.Response | None:
        """What the health port answers; ``None`` while nobody listens."""
        try:
            # Without TLS there is nothing to verify; its context would cost more than all the rest.
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE, trust_env=False, verify=False)
        except httpx.TransportError:
            return None

    def post(self, path: str, content: bytes) -> httpx.Response:
        """What it answers to something that is sent to the same port."""
        return httpx.post(
            f"http://127.0.0.1:{self.port}{path}", content=content, timeout=DEADLINE, trust_env=False, verify=False
        )

    def readiness(self) -> tuple[int, str]:
        answer = self.get("/readyz")
        return (answer.status_code, answer.text.strip()) if answer is not None else (0, "")

    def metrics(self) -> str:
        answer = self.get("/metrics")
        assert answer is not None
        return answer.text

    def wait_ready(self) -> None:
        """Until it works; one that only stands by is not waited for."""

        def ready() -> bool:
            assert self.running, f"it ended with {self.process and self.process.returncode}: {self.output}"
            return self.readiness() == (200, "ok")

        eventually(ready, lambda: self.output)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; answers the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def end(self) -> None:
        """Leave nothing behind, whatever became of the test."""
        if self.running:
            self.kill()

    def check_output(self) -> None:
        """Fail if what was written since the last check tells of a mistake of the program."""
        news = self.output[self._checked :]
        self._checked += len(news)
        found = [line for line in news.splitlines() if any(mistake in line for mistake in MISTAKES)]
        assert not found, f"{found}\n{news[-6000:]}"


def run_to_end(*arguments: str, **env: str) -> tuple[int, str]:
    """Exit status and whole output of a command that ends by itself."""
    done = subprocess.run(
        [str(EXECUTABLE), *arguments],
        env=_environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert not any(mistake in done.stdout for mistake in MISTAKES), done.stdout
    return done.returncode, done.stdout


def may_fork(environment: Mapping[str, str]) -> bool:
    """Whether a fork of the nursery will do for a program with this environment."""
    own = _environment({})
    return not THOROUGH and all(environment.get(name) == own.get(name) for name in READ_AT_IMPORT)


@cache
def nursery() -> Nursery:
    """One for each process that runs tests, from its first program on."""
    nursery = Nursery(_environment({}))
    atexit.register(nursery.end)
    return nursery


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTPOOL_", "KUBECONFIG"))}
    return {**inherited, **LIGHT, **more}
