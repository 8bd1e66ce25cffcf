"""What every scenario runs on: a controller, a namespace, and one pool at a time."""

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import httpx

from tests.bench.api import ApiError, ApiServer
from tests.bench.engines import DockerEngine
from tests.bench.figures import Result, Snapshot
from tests.bench.operators import Invocation, Operator
from tests.bench.pools import Pool, PoolSize
from tests.bench.processes import UnfinishedError, busy_seconds, cpu_seconds
from tests.bench.servers import Server
from tests.docker.api import EngineError

REST_SECONDS = 180.0
_TROUBLE = (UnfinishedError, ApiError, aiohttp.ClientError, EngineError, httpx.HTTPError, OSError)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all scenarios of a run have in common."""

    server: Server
    folder: Path
    api: ApiServer
    controller: Sequence[str]
    """Command of the controller process with virtual instances, without its arguments."""
    profiles: Path | None
    """Folder for one profile per scenario, if they are wanted."""
    logs: Path | None
    """Folder for the controller's log of each scenario, if they are to be kept."""
    engine: DockerEngine | None = None
    """Where containers run, as soon as it is there."""


class Stage(ABC):
    """One scenario's programs and its pool, which bears its name."""

    def __init__(self, setting: Setting, name: str, size: PoolSize, spec: Mapping[str, Any]) -> None:
        self.api = setting.api
        self.name = name
        self.setting = setting
        self.folder = setting.folder / f"{name}-{time.time_ns()}"
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self.pool = Pool(setting.api, name, size, spec)
        self.operator = Operator(self.session, self.folder / "controller.log", self.invocation)

    @abstractmethod
    def invocation(self, port: int) -> Invocation:
        """How the controller is started, with its HTTP side on a port."""

    def shipped(self, port: int, env: Mapping[str, str]) -> Invocation:
        """``agentpool run`` on the namespace of the benchmark."""
        profiles, python = self.setting.profiles, [sys.executable]
        if profiles is not None:
            python += ["-m", "cProfile", "-o", str(profiles.resolve() / f"{self.name}.prof")]
        options = {
            "--kubeconfig": str(self.setting.server.kubeconfig),
            "--namespace": self.api.namespace,
            "--operator-namespace": self.api.namespace,
            "--state-dir": str(self.folder / "state"),
            "--http-host": "127.0.0.1",
            "--http-port": str(port),
            "--log-format": "json",
        }
        words = (word for option in options.items() for word in option)
        return Invocation([*python, "-m", "controller", "run", *words], env)

    @abstractmethod
    def pids(self) -> Mapping[str, int]:
        """The programs whose CPU time is told, besides the controller and the API server."""

    @abstractmethod
    async def rest(self) -> float:
        """Wait until the pool is as full as it should be and nothing moves any more.

        Answers when it became full, by perf_counter.
        """

    @abstractmethod
    async def leaks(self) -> list[str]:
        """In sentences, what is left although the pool is gone."""

    async def prepare(self) -> None:  # noqa: B027 - most stages need nothing
        """Start what the controller needs besides the API server."""

    async def dismantle(self) -> None:  # noqa: B027
        """Stop it; the controller has ended."""

    @asynccontextmanager
    async def set_up(self) -> AsyncIterator[None]:
        """Whatever was started in the block is stopped after it."""
        self.folder.mkdir()
        (self.folder / "state").mkdir()
        try:
            await self.prepare()
            yield
        finally:
            await self.operator.end()
            await self.dismantle()
            if self.setting.logs is not None:
                self.operator.keep_log(self.setting.logs / f"{self.name}.log")
            await self.session.close()

    async def snapshot(self) -> Snapshot:
        """The counters of this moment; CPU first, for asking costs some."""
        pids = {"controller": self.operator.pid, **self.setting.server.pids, **self.pids()}
        cpu = {name: cpu_seconds(pid) for name, pid in pids.items()} | {"client": time.process_time()}
        at, busy = time.perf_counter(), busy_seconds()
        requests, passes = await self.operator.counters()
        return Snapshot(at, cpu, busy, requests, passes)

    async def create_pool(self) -> float:
        """Create the pool and wait until it is full and at rest; seconds until it was full."""
        began = time.perf_counter()
        await self.pool.create()
        return await self.rest() - began

    async def clear(self) -> None:
        """Delete all claims and the pool, and wait until the controller has ended every instance."""
        await self.pool.delete()
        deadline = time.perf_counter() + REST_SECONDS
        while time.perf_counter() < deadline:
            self.operator.check_alive()
            if not await self.pool.left():
                return
            await asyncio.sleep(0.25)
        raise UnfinishedError(
            f"{await self.pool.left()} are still there {REST_SECONDS:.0f} s after the pool was deleted:\n"
            f"{self.operator.last_words()}"
        )

    async def force(self) -> None:
        """Remove what a failed scenario left, without the controller."""
        await self.pool.force()


AnyStage = TypeVar("AnyStage", bound=Stage)


async def played(stage: AnyStage, play: Callable[[AnyStage], Awaitable[Result]]) -> Result:
    """The result of a play, with the clearing-up after it and every reason why it did not end."""
    result = Result(stage.name, {})
    unfinished: list[str] = []
    leaks: list[str] = []
    try:
        async with stage.set_up():
            try:
                result = await play(stage)
                await stage.clear()
                leaks = await stage.leaks()
                await stage.operator.stop()
            finally:
                await stage.force()
    except* _TROUBLE as group:
        unfinished = [str(error) or type(error).__name__ for error in _leaves(group)]
    return Result(
        result.scenario, result.figures, result.tables, [*result.faults, *leaks], "; ".join(unfinished) or None
    )


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
