"""Starts real instances: `python -m agent` on a port of the system's choice, with a state directory of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

TOKEN = "token-of-this-instance"
INSTRUCTIONS = "Plan trips to Tokyo. The password is swordfish."
DEADLINE_SECONDS = 30.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition, generously, and return what it gave."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {DEADLINE_SECONDS} s in vain: {what}")


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, read whole."""

    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Instance:
    """One supervisor process, its gateway, and their state directory; it can be started again on the same state."""

    token = TOKEN
    deadline_seconds = DEADLINE_SECONDS
    """How long it has to become ready."""
    pause_seconds = 0.02
    """How long to wait between two looks at whether it is."""

    def __init__(self, state_dir: Path, environment: dict[str, str]) -> None:
        self.state_dir = state_dir
        self.environment = environment
        self._log_path = state_dir.with_name(f"{state_dir.name}.log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **changes: str) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {
            "PORT": "0",
            "OPENCLAW_STATE_DIR": str(self.state_dir),
            "OPENCLAW_GATEWAY_TOKEN": TOKEN,
            "INSTANCE_ID": "instance-1",
        }
        # A killed supervisor leaves its port behind.
        (self.state_dir / "port").unlink(missing_ok=True)
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent"],
                env={**kept, **own, **self.environment, **changes},
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    @property
    def port(self) -> int:
        path = self.state_dir / "port"

        def written() -> str:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            return path.read_text() if path.exists() else ""

        return int(until(written, "the port file"))

    @property
    def gateway(self) -> psutil.Process:
        children: list[psutil.Process] = until(lambda: psutil.Process(self.pid).children(), "the gateway's process")
        return children[0]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> Reply:
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url(path), data=data, headers=given, allow_redirects=False) as response,
        ):
            return Reply(response.status, response.content_type, dict(response.headers), await response.read())

    async def ready(self) -> Reply:
        deadline = time.monotonic() + self.deadline_seconds
        while True:
            reply = await self.ask("GET", "/pool/health", token=None)
            if reply.status == 200:
                return reply
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(self.pause_seconds)

    async def provision(self, key: str | None = "claim-1", **fields: Any) -> Reply:
        body = {"agentName": "Tokyo", "instructions": INSTRUCTIONS, **fields}
        return await self.ask(
            "POST", "/pool/provision", body=body, headers={} if key is None else {"Idempotency-Key": key}
        )

    async def convos_status(self) -> dict[str, Any]:
        status: dict[str, Any] = (await self.ask("GET", "/convos/status")).json
        return status

    def conversations(self) -> int:
        """How many conversations the gateway ever said it created."""
        return self.log.count("created a conversation")

    def kill(self) -> None:
        """kill -9, and wait until the gateway is gone as well."""
        gateway = self.gateway
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        until(lambda: not alive(gateway), "the gateway's end after its supervisor was killed")

    def terminate(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=DEADLINE_SECONDS)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            group = psutil.Process(self.pid).children(recursive=True)
            self.process.terminate()
            self.wait()
            assert not [process for process in group if alive(process)], "the instance left a process behind"


def alive(process: psutil.Process) -> bool:
    """Whether it runs; between two looks it may be reaped."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def new_instance(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Makes and starts an instance with extra environment variables."""
    made: list[Instance] = []

    def make(**environment: str) -> Instance:
        instance = Instance(tmp_path / f"instance-{len(made)}", environment)
        made.append(instance)
        instance.start()
        return instance

    yield make
    for instance in made:
        instance.end()


@pytest.fixture(scope="session")
def idle_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance shared by the tests that only have something refused."""
    instance = Instance(tmp_path_factory.mktemp("agent") / "idle", {})
    instance.start()
    yield instance
    instance.end()
