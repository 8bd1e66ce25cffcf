"""What one scenario runs on: a world, a controller, a namespace, and at most one pool at a time."""

import asyncio
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from controller.model import API_VERSION
from tests.bench.api import ApiError, ApiServer
from tests.bench.figures import Request, Snapshot, counters
from tests.bench.processes import Program, busy_seconds, cpu_seconds, free_port, peak_megabytes
from tests.bench.servers import Server

READY_SECONDS = 60.0
REST_SECONDS = 180.0
QUIET_SECONDS = 1.5
_PROBLEMS = frozenset({"warning", "error", "critical"})


class UnfinishedError(Exception):
    """A scenario did not come to its end; the text says what was waited for."""


@dataclass(frozen=True, slots=True)
class PoolSize:
    """The numbers of a pool."""

    min_idle: int
    max_total: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What all scenarios of a run have in common."""

    server: Server
    folder: Path
    api: ApiServer
    controller: Sequence[str]
    """Command of the controller process, without its arguments."""
    profiles: Path | None
    """Folder for one profile per scenario, if they are wanted."""
    logs: Path | None
    """Folder for the controller's log of each scenario, if they are to be kept."""


class Stage:
    """One scenario's programs. ``pool`` is the pool's name as well as the scenario's."""

    def __init__(self, setting: Setting, pool: str, size: PoolSize) -> None:
        self.api = setting.api
        self.pool = pool
        self.size = size
        self._setting = setting
        self._folder = setting.folder / f"{pool}-{time.time_ns()}"
        self._world_url = ""
        self._http = ""
        self._world: Program | None = None
        self._controller: Program | None = None
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))

    @asynccontextmanager
    async def set_up(self) -> AsyncIterator[None]:
        """Run the world; whatever was started in the block is stopped after it."""
        self._folder.mkdir()
        try:
            port = free_port()
            self._world_url = f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", "tests.bench.world", "--port", str(port)]
            self._world = await Program.start("world", command, log=self._folder / "world.log")
            await self._answering(self._world, f"{self._world_url}/launch")
            yield
        finally:
            for program in (self._controller, self._world):
                if program is not None:
                    await program.stop()
            if self._setting.logs is not None and self._controller is not None:
                shutil.copyfile(self._controller.log, self._setting.logs / f"{self.pool}.log")
            await self._session.close()

    async def start_controller(self) -> float:
        """Start it; seconds until it is ready."""
        port = free_port()
        self._http = f"http://127.0.0.1:{port}"
        state = self._folder / "state"
        state.mkdir(exist_ok=True)
        options = {
            "--kubeconfig": str(self._setting.server.kubeconfig),
            "--namespace": self.api.namespace,
            "--http-port": str(port),
            "--state-dir": str(state),
            "--world": self._world_url,
        }
        command = [*self._setting.controller, *(word for option in options.items() for word in option)]
        profiles = self._setting.profiles
        env = {"BENCH_PROFILE": str(profiles.resolve() / f"{self.pool}.prof")} if profiles else {}
        self._controller = await Program.start("controller", command, log=self._folder / "controller.log", env=env)
        return await self._answering(self._controller, f"{self._http}/readyz")

    async def stop_controller(self) -> float:
        """End it as an update would; seconds that it took."""
        began = time.perf_counter()
        code = await self._running().stop()
        if code != 0:
            raise UnfinishedError(f"the controller ended with exit code {code} on SIGTERM: {self._last_words()}")
        return time.perf_counter() - began

    async def _answering(self, program: Program, url: str) -> float:
        while (elapsed := time.perf_counter() - program.started_at) < READY_SECONDS:
            if program.exit_code is not None:
                raise UnfinishedError(
                    f"the {program.name} ended with exit code {program.exit_code}:\n{program.last_words()}"
                )
            try:
                async with self._session.get(url) as response:
                    if response.status == 200:
                        return time.perf_counter() - program.started_at
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)
        raise UnfinishedError(f"the {program.name} was not ready after {elapsed:.0f} s:\n{program.last_words()}")

    def _running(self) -> Program:
        if self._controller is None:
            raise UnfinishedError("the controller was never started")
        return self._controller

    def _last_words(self) -> str:
        return "\n" + self._running().last_words()

    def profile(self, *, begin: bool) -> None:
        """Limit the profile, if one is wanted, to what happens between two calls."""
        if self._setting.profiles is not None:
            self._running().signal(signal.SIGUSR1 if begin else signal.SIGUSR2)

    def memory(self) -> float:
        """The controller's peak resident set in MB."""
        return peak_megabytes(self._running().pid)

    def log_problems(self) -> int:
        """How many lines of the controller's log say warning or worse."""
        count = 0
        for line in self._running().log.read_bytes().splitlines():
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # a library printed it
            count += isinstance(entry, dict) and entry.get("level") in _PROBLEMS
        return count

    async def snapshot(self) -> Snapshot:
        """The counters of this moment; CPU first, for asking costs some."""
        pids: dict[str, int] = {"controller": self._running().pid, **self._setting.server.pids}
        if self._world is not None:
            pids["world"] = self._world.pid
        cpu = {name: cpu_seconds(pid) for name, pid in pids.items()} | {"client": time.process_time()}
        at, busy = time.perf_counter(), busy_seconds()
        requests, passes = await self._counters()
        return Snapshot(at, cpu, busy, requests, passes)

    async def _counters(self) -> tuple[Counter[Request], Counter[str]]:
        async with self._session.get(f"{self._http}/metrics", raise_for_status=True) as response:
            return counters(await response.text())

    async def ledger(self) -> dict[str, Any]:
        """What the virtual instances saw."""
        async with self._session.get(f"{self._world_url}/ledger", raise_for_status=True) as response:
            ledger: dict[str, Any] = orjson.loads(await response.read())
            return ledger

    async def create_pool(self) -> float:
        """Create the pool and wait until it is full and at rest; seconds until it was full."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "AgentPool",
            "metadata": {"name": self.pool},
            "spec": {
                "minIdle": self.size.min_idle,
                "maxTotal": self.size.max_total,
                "backend": {"process": {}},
            },
        }
        began = time.perf_counter()
        await self.api.request("POST", self.api.path("agentpools"), body)
        return await self.rest() - began

    async def rest(self) -> float:
        """Wait until only Idle instances are left, as many as there should be, and nothing more is written.

        Answers when the last instance became Idle, by perf_counter.
        """
        full_at: float | None = None
        writes, quiet_since = -1, time.perf_counter()
        deadline = time.perf_counter() + REST_SECONDS
        while time.perf_counter() < deadline:
            self._check_alive()
            status = (await self.api.request("GET", self.api.path("agentpools", self.pool))).get("status") or {}
            now = time.perf_counter()
            if (status.get("idle"), status.get("total")) != (self.size.min_idle, self.size.min_idle):
                full_at = None
            elif full_at is None:
                full_at = now
            requests, _ = await self._counters()
            count = sum(number for request, number in requests.items() if request.writes)
            if count != writes:
                writes, quiet_since = count, now
            if full_at is not None and now - quiet_since >= QUIET_SECONDS:
                await self._check_status()
                return full_at
            await asyncio.sleep(0.25)
        raise UnfinishedError(
            f"the pool was not at rest after {REST_SECONDS:.0f} s; its status: {status}{self._last_words()}"
        )

    async def _check_status(self) -> None:
        phases = Counter(
            (instance.get("status") or {}).get("phase") for instance in await self.api.objects("agentinstances")
        )
        if phases != {"Idle": self.size.min_idle}:
            raise UnfinishedError(f"the pool's status says that it is full and at rest, but its instances are {phases}")

    def _check_alive(self) -> None:
        program = self._running()
        if program.exit_code is not None:
            raise UnfinishedError(f"the controller ended with exit code {program.exit_code}:{self._last_words()}")

    async def clear(self) -> None:
        """Delete all claims and the pool, and wait until the controller has ended every instance."""
        for plural in ("agentclaims", "agentpools"):
            async with asyncio.TaskGroup() as group:
                for item in await self.api.objects(plural):
                    group.create_task(self.api.delete(plural, item["metadata"]["name"]))
        deadline = time.perf_counter() + REST_SECONDS
        while time.perf_counter() < deadline:
            self._check_alive()
            if not await self._left():
                return
            await asyncio.sleep(0.25)
        raise UnfinishedError(
            f"{await self._left()} are still there {REST_SECONDS:.0f} s after the pool was deleted{self._last_words()}"
        )

    async def _left(self) -> list[str]:
        return [
            plural
            for plural in ("agentclaims", "agentpools", "agentinstances")
            if await self.api.objects(plural, limit=1)
        ]

    async def force(self) -> None:
        """Remove what a failed scenario left in the namespace, without the controller."""
        for plural in ("agentclaims", "agentpools", "agentinstances"):
            async with asyncio.TaskGroup() as group:
                for item in await self.api.objects(plural):
                    group.create_task(self._force(plural, item["metadata"]["name"]))

    async def _force(self, plural: str, name: str) -> None:
        body: Mapping[str, Any] = {"metadata": {"finalizers": None}}
        await self.api.delete(plural, name)
        try:
            await self.api.request("PATCH", self.api.path(plural, name), body, "application/merge-patch+json")
        except ApiError as error:
            if error.status != 404:
                raise
