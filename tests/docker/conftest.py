"""Containers of the agent's image, removed with the test that made them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.docker.api import Engine

TOKEN = "token-of-this-instance"
DEADLINE_SECONDS = 60.0


def until(condition: Callable[[], Any], what: str, *, seconds: float = DEADLINE_SECONDS) -> Any:
    """Wait for a condition, generously, and return what it gave."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


@dataclass(frozen=True)
class Container:
    """One container of an engine."""

    engine: Engine
    id: str

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.engine.get(f"/containers/{self.id}/json")["State"]
        return state

    @property
    def log(self) -> str:
        content = self.engine.get_bytes(f"/containers/{self.id}/logs", stdout="1", stderr="1")
        lines = b""
        while content:
            # Each piece: the stream, three bytes of nothing, its length.
            size = int.from_bytes(content[4:8], "big")
            lines, content = lines + content[8 : 8 + size], content[8 + size :]
        return lines.decode()

    @property
    def url(self) -> str:
        ports = self.engine.get(f"/containers/{self.id}/json")["NetworkSettings"]["Ports"]
        return f"http://127.0.0.1:{ports['8080/tcp'][0]['HostPort']}"

    def run(self, *command: str, user: str = "") -> tuple[int, str]:
        """The exit status and the output of a command inside."""
        order = {"AttachStdout": True, "AttachStderr": True, "Tty": True, "Cmd": list(command), "User": user}
        number = self.engine.post(f"/containers/{self.id}/exec", order)["Id"]
        output = self.engine.post_for_bytes(f"/exec/{number}/start", {"Tty": True})
        return int(self.engine.get(f"/exec/{number}/json")["ExitCode"]), output.decode().replace("\r\n", "\n")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the JSON that the instance answers on its published port."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def ready(self, seconds: float = DEADLINE_SECONDS) -> None:
        def answers() -> bool:
            assert self.state["Running"], self.log
            return self.ask("GET", "/pool/health")[0] == 200

        until(answers, "GET /pool/health answers 200", seconds=seconds)

    def stop(self) -> int:
        """What `docker stop -t 10` does; the exit status."""
        self.engine.post(f"/containers/{self.id}/stop", t="10")
        return int(self.state["ExitCode"])


@pytest.fixture
def new_container(docker_engine: Engine) -> Iterator[Callable[..., Container]]:
    """Starts a container of an image, with a token, a published port, and what the test wants."""
    made: list[Container] = []

    def make(
        image: str,
        *,
        environment: dict[str, str] | None = None,
        configuration: dict[str, Any] | None = None,
        **host: Any,
    ) -> Container:
        variables = {"OPENCLAW_GATEWAY_TOKEN": TOKEN, "INSTANCE_ID": "instance-1", **(environment or {})}
        order = {
            **(configuration or {}),
            "Image": image,
            "Env": [f"{name}={value}" for name, value in variables.items()],
            "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}, **host},
        }
        container = Container(docker_engine, docker_engine.post("/containers/create", order)["Id"])
        made.append(container)
        docker_engine.post(f"/containers/{container.id}/start")
        return container

    yield make
    for container in made:
        docker_engine.delete(f"/containers/{container.id}", force="1", v="1")
