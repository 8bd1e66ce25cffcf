"""An operator that answers what a test wants, byte for byte, and the commands run against it as processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOKEN = "token-of-this-instance"


@dataclass
class Asked:
    """A request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Operator:
    """Listens on a port and writes one answer to whoever asks."""

    answer: bytes = b""
    drip: bool = False
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def answers(self, status: int, body: Any, *, content_type: str = "application/json", more: str = "") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n{more}"
        self.answer = f"{head}\r\n".encode() + content

    def close(self) -> None:
        self._ending.set()
        # Wakes the thread, which waits for a connection.
        with socket.create_connection(self._listening.getsockname()):
            self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                if self._ending.is_set():
                    return
                try:
                    self._one(connection)
                except OSError:
                    continue  # the command had enough

    def _one(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            line = stream.readline().decode().strip()
            headers: dict[str, str] = {}
            while header := stream.readline().decode().strip():
                name, _, value = header.partition(": ")
                headers[name.lower()] = value
            self.asked.append(Asked(line, headers, stream.read(int(headers.get("content-length", "0")))))
        if not self.drip:
            connection.sendall(self.answer)
        while self.drip and not self._ending.is_set():
            connection.sendall(b"x")
            time.sleep(0.05)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    exit: int
    out: str
    err: str


@pytest.fixture
def operator() -> Iterator[Operator]:
    """An operator that answers nothing yet."""
    made = Operator()
    yield made
    made.close()


@pytest.fixture
def run(operator: Operator) -> Callable[..., Done]:
    """Runs a command as an agent does: run("request-agent", "cfo", stdin=b"", POOL_URL=None)."""

    def run(*words: str | bytes, stdin: bytes = b"", **changes: str | None) -> Done:
        environment: dict[str, str | None] = {
            "PATH": os.environ["PATH"],
            "POOL_URL": operator.url,
            "INSTANCE_ID": "instance-1",
            "OPENCLAW_GATEWAY_TOKEN": TOKEN,
            **changes,
        }
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "agent.commands", *words],
            input=stdin,
            env={name: value for name, value in environment.items() if value is not None},
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err
        assert TOKEN not in out + err
        return Done(done.returncode, out, err)

    return run
