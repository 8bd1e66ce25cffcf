"""A stage whose instances are containers of the real agent: ``agentpool run`` as it ships, on a Docker engine."""

import asyncio
import time
from collections.abc import Mapping
from statistics import mean
from typing import Any

from controller.model.pool import WarmStrategy
from tests.bench import verdict
from tests.bench.claims import SeenClaim
from tests.bench.containers import Containers
from tests.bench.engines import DockerEngine
from tests.bench.figures import Window
from tests.bench.operators import Invocation
from tests.bench.pools import PoolSize
from tests.bench.processes import UnfinishedError
from tests.bench.stage import REST_SECONDS, Setting, Stage

QUIET_SECONDS = 0.3
IDLE_SECONDS = 20.0
HEALTH_SECONDS = 10
_STATE = {WarmStrategy.RUNNING: "running", WarmStrategy.PAUSED: "paused"}


class DockerStage(Stage):
    """The operator with its docker backend, and a pool of the agent's image."""

    def __init__(
        self, setting: Setting, engine: DockerEngine, name: str, size: PoolSize, strategy: WarmStrategy
    ) -> None:
        spec: dict[str, Any] = {
            "warmStrategy": strategy.value,
            "backend": {"docker": {}},
            "template": {"image": engine.image},
            "health": {"intervalSeconds": HEALTH_SECONDS},
        }
        super().__init__(setting, name, size, spec)
        self.containers = Containers(engine.client, setting.api.namespace)
        self._engine = engine
        self._full = {_STATE[strategy]: size.min_idle} if size.min_idle else {}

    def invocation(self, port: int) -> Invocation:
        """The command that users run."""
        return self.shipped(port, {"DOCKER_HOST": self._engine.client.host, "AGENTPOOL_BACKENDS": "docker"})

    def pids(self) -> Mapping[str, int]:
        """The engine, if it is ours."""
        return self._engine.pids

    async def rest(self) -> float:
        """Wait until there are only Idle instances, as many as there should be, each container in its warm state."""
        wanted = {"Idle": self.pool.size.min_idle} if self.pool.size.min_idle else {}
        full_at: float | None = None
        deadline = time.perf_counter() + REST_SECONDS
        while (now := time.perf_counter()) < deadline:
            self.operator.check_alive()
            phases, states = await self.pool.phases(), await self.containers.states()
            if (phases, states) != (wanted, self._full):
                full_at = None
            elif full_at is None:
                full_at = now
            elif now - full_at >= QUIET_SECONDS:
                return full_at
            await asyncio.sleep(0.1)
        raise UnfinishedError(
            f"the pool was not at rest after {REST_SECONDS:.0f} s: instances {dict(phases)}, "
            f"containers {dict(states)}, status {await self.pool.status()}\n{self.operator.last_words()}"
        )

    async def idle(self) -> dict[str, float]:
        """What a full pool costs while nothing happens but health checks."""
        before, used = await self.snapshot(), await self.containers.usages()
        await asyncio.sleep(IDLE_SECONDS)
        after, later = await self.snapshot(), await self.containers.usages()
        window = Window.between(before, after)
        if used.keys() != later.keys():
            raise UnfinishedError("containers came or went while the pool was to be at rest")
        seconds = sum(usage.cpu_seconds - used[each].cpu_seconds for each, usage in later.items())
        return {
            "idle_cores": seconds * 1000 / window.seconds,
            "container_memory": mean(usage.memory_megabytes for usage in later.values()),
            "cpu_at_rest": window.cpu["controller"] * 1000 / window.seconds,
            "other_cores": max(0.0, window.other_cores - seconds / window.seconds),
        }

    async def sight(self, claim: SeenClaim) -> verdict.Sight:
        """What there is while a claim is held; for the verdict."""
        stored = await self.pool.instances()
        states = await self.containers.states()
        told = None
        if claim.instance:
            token = await self.api.token(claim.instance)
            told = await self.containers.conversation(claim.instance, token, self.session)
        return verdict.Sight(claim.name, stored, states.total(), told)

    async def leaks(self) -> list[str]:
        """Containers, and their volumes, that outlived the pool."""
        return verdict.remains(await self.containers.left(), "containers")

    async def force(self) -> None:
        """Remove containers as well."""
        await super().force()
        await self.containers.remove()
