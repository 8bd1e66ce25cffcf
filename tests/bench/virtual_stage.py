"""A stage whose instances are virtual: one world plays them all, so that the controller itself is measured."""

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import orjson

from tests.bench import verdict
from tests.bench.operators import Invocation
from tests.bench.pools import PoolSize
from tests.bench.processes import Program, UnfinishedError, free_port
from tests.bench.stage import REST_SECONDS, Setting, Stage

QUIET_SECONDS = 1.5


class VirtualStage(Stage):
    """The controller with the backend of ``tests.bench.virtual``, and its world."""

    def __init__(self, setting: Setting, name: str, size: PoolSize) -> None:
        super().__init__(setting, name, size, {"backend": {"process": {}}})
        self._world: Program | None = None
        self._world_url = ""

    async def prepare(self) -> None:
        """Run the world."""
        port = free_port()
        self._world_url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "tests.bench.world", "--port", str(port)]
        self._world = await Program.start("world", command, log=self.folder / "world.log")
        await self._world.answering(self.session, f"{self._world_url}/launch")

    async def dismantle(self) -> None:
        """Stop the world."""
        if self._world is not None:
            await self._world.stop()

    def invocation(self, port: int) -> Invocation:
        """The bench's own controller program, or the one that is to be measured instead."""
        options = {
            "--kubeconfig": str(self.setting.server.kubeconfig),
            "--namespace": self.api.namespace,
            "--http-port": str(port),
            "--state-dir": str(self.folder / "state"),
            "--world": self._world_url,
        }
        profiles = self.setting.profiles
        return Invocation(
            [*self.setting.controller, *(word for option in options.items() for word in option)],
            {"BENCH_PROFILE": str(profiles.resolve() / f"{self.name}.prof")} if profiles else {},
        )

    def pids(self) -> Mapping[str, int]:
        """The world."""
        return {"world": self._world.pid} if self._world is not None else {}

    def profile(self, *, begin: bool) -> None:
        """Limit the profile, if one is wanted, to what happens between two calls."""
        if self.setting.profiles is not None:
            self.operator.signal(signal.SIGUSR1 if begin else signal.SIGUSR2)

    async def ledger(self) -> dict[str, Any]:
        """What the virtual instances saw."""
        async with self.session.get(f"{self._world_url}/ledger", raise_for_status=True) as response:
            ledger: dict[str, Any] = orjson.loads(await response.read())
            return ledger

    async def leaks(self) -> list[str]:
        """Instances that live on."""
        return verdict.leaks(await self.ledger())

    async def rest(self) -> float:
        """Wait until only Idle instances are left, as many as there should be, and nothing more is written."""
        wanted = self.pool.size.min_idle
        full_at: float | None = None
        writes, quiet_since = -1, time.perf_counter()
        deadline = time.perf_counter() + REST_SECONDS
        while time.perf_counter() < deadline:
            self.operator.check_alive()
            status = await self.pool.status()
            now = time.perf_counter()
            if (status.get("idle"), status.get("total")) != (wanted, wanted):
                full_at = None
            elif full_at is None:
                full_at = now
            requests, _ = await self.operator.counters()
            count = sum(number for request, number in requests.items() if request.writes)
            if count != writes:
                writes, quiet_since = count, now
            if full_at is not None and now - quiet_since >= QUIET_SECONDS:
                await self._check_status()
                return full_at
            await asyncio.sleep(0.25)
        raise UnfinishedError(
            f"the pool was not at rest after {REST_SECONDS:.0f} s; its status: {status}\n{self.operator.last_words()}"
        )

    async def _check_status(self) -> None:
        phases = await self.pool.phases()
        if phases != {"Idle": self.pool.size.min_idle}:
            raise UnfinishedError(f"the pool's status says that it is full and at rest, but its instances are {phases}")
