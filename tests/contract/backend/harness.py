"""What the contract suite needs of an implementation besides the port: a world to run it in and hands to disturb it."""

import asyncio
import json
import os
import sys
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil

from controller.backends.process import ProcessBackend
from controller.model import BackendSpec, Template
from controller.ports import Backend, LaunchOrder, Remote
from tests.e2e.marked import carrying

PATIENCE = 30.0
"""Seconds within which anything happens, however busy the machine is."""
PROGRAM = Path(__file__).with_name("agent_program.py")

Behaviour = Literal["serve", "fail", "stubborn"]


class Harness(Protocol):
    """One world in which backends of one kind run; each ``make`` is a controller that starts in it."""

    pauses: bool
    """Whether its instances can be frozen."""
    renames: bool
    """Whether it shows names."""
    asks: bool
    """Whether it asks an instance to end, and forces it only after a grace period that is said at the end."""
    exit_told: str
    """What is told of a program that has failed with code 3."""
    kill_told: str
    """What is told of a program that was killed."""

    async def make(self, installation: str | None = None) -> Backend:
        """A backend that has started, over what is already there; of the world's installation unless named."""
        ...

    def order(self, uid: str, behaviour: Behaviour = "serve", env: Mapping[str, str] | None = None) -> LaunchOrder:
        """An order for an agent that serves, or fails at once with code 3, or does not listen when asked to stop."""
        ...

    async def settled(self, backend: Backend, remote: Remote) -> Remote:
        """What was launched, once it runs or has ended: some backends build and deploy."""
        ...

    async def ready(self, uid: str) -> None:
        """Wait until the agent does what it was ordered to do."""
        ...

    async def environment(self, uid: str) -> Mapping[str, str]:
        """The environment that the agent itself sees."""
        ...

    async def kill_remote(self, uid: str) -> None:
        """Let it die by itself."""
        ...

    async def count_running(self, uid: str) -> int:
        """How many remotes of the instance run, whatever the backend says."""
        ...

    async def is_frozen(self, uid: str) -> bool:
        """Whether it is frozen, whatever the backend says."""
        ...

    async def close(self) -> None:
        """End the world."""
        ...


class ProcessHarness:
    """Real processes below a directory."""

    pauses = False
    renames = False
    asks = True
    exit_told = "exited with code 3"
    kill_told = "SIGKILL"

    def __init__(self, root: Path) -> None:
        self.root = root
        # Marks are looked for on the whole host, where the same suite may be running twice.
        self.installation = str(uuid.uuid4())
        self.backends: list[ProcessBackend] = []

    async def make(self, installation: str | None = None) -> ProcessBackend:
        backend = ProcessBackend(
            self.root,
            installation=installation or self.installation,
            default_command=[sys.executable, "-S", str(PROGRAM)],
        )
        await backend.start()
        self.backends.append(backend)
        return backend

    def order(
        self, uid: str, behaviour: str = "serve", env: Mapping[str, str] | None = None, **template: Any
    ) -> LaunchOrder:
        return LaunchOrder(
            uid=uid,
            name=f"pool-{uid}",
            namespace="default",
            pool="pool",
            backend=BackendSpec.model_validate({"process": {}}),
            template=Template.model_validate(template),
            env={"BEHAVIOUR": behaviour, **(env or {})},
        )

    async def settled(self, backend: Backend, remote: Remote) -> Remote:
        return remote

    async def ready(self, uid: str) -> None:
        await eventually((self.root / uid / "state" / "ready").exists)

    async def environment(self, uid: str) -> Mapping[str, str]:
        await self.ready(uid)
        [process] = self.processes(uid)
        port = process.environ()["PORT"]
        answer = await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/")
        environment: dict[str, str] = json.loads(answer)
        return environment

    async def kill_remote(self, uid: str) -> None:
        for process in self.processes(uid):
            process.kill()
        await eventually(lambda: not self.processes(uid))

    async def count_running(self, uid: str) -> int:
        return len(self.processes(uid))

    async def is_frozen(self, uid: str) -> bool:
        return any(_status(process) == psutil.STATUS_STOPPED for process in self.processes(uid))

    def processes(self, uid: str) -> list[psutil.Process]:
        """Every living process that has the environment of the instance."""
        return processes_below(self.root / uid)

    async def close(self) -> None:
        for backend in self.backends:
            await backend.close()
        for process in processes_below(self.root):
            with suppress(psutil.Error):
                process.kill()
        reap()


def processes_below(root: Path) -> list[psutil.Process]:
    """Every living process of any instance below a root, by its environment."""
    below = f"{root}{os.sep}"
    return [each for each, env in carrying("OPENCLAW_STATE_DIR") if env["OPENCLAW_STATE_DIR"].startswith(below)]


def reap() -> None:
    """Collect the exits of our own children."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


async def eventually(condition: Callable[[], Any] | Callable[[], Awaitable[Any]]) -> Any:
    """Wait for a condition, generously, and return what it gave."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


async def end(backend: Backend, uid: str, grace: float = 0.0) -> None:
    """Terminate until it is gone."""
    await eventually(lambda: backend.terminate(uid, grace=grace))


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.Error:
        return psutil.STATUS_DEAD


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        content: bytes = answer.read()
        return content
