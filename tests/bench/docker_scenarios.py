"""The scenarios on a Docker engine: what a claim takes, and what waiting for one costs, by how containers wait."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.errors import Misconfigured
from controller.model.pool import WarmStrategy
from tests.bench import verdict
from tests.bench.claims import Claims, latencies
from tests.bench.docker_stage import DockerStage
from tests.bench.figures import Result, Window
from tests.bench.pools import PoolSize
from tests.bench.stage import Setting, played


@dataclass(frozen=True, slots=True)
class DockerScenario:
    """One claim after another, each on a pool at rest."""

    name: str
    size: PoolSize
    strategy: WarmStrategy
    claims: int

    async def run(self, setting: Setting) -> Result:
        """Measure it once; faults and a missing end are in the result."""
        if setting.engine is None:
            raise Misconfigured(f"{self.name} needs a Docker engine")
        stage = DockerStage(setting, setting.engine, self.name, self.size, self.strategy)
        return await played(stage, self._play)

    async def _play(self, stage: DockerStage) -> Result:
        await stage.operator.start()
        fill = await stage.create_pool()
        figures = {"fill": fill, **await stage.idle()} if self.size.min_idle else {}
        await stage.api.warm()
        claims = Claims(stage.api, stage.name)
        sights = []
        before = await stage.snapshot()
        async with claims.watched():
            for _ in range(self.claims):
                claim = await claims.make()
                await claim.bound()
                sights.append(await stage.sight(claim))
                await claims.delete(claim)
                await stage.rest()
        window = Window.between(before, await stage.snapshot())
        milliseconds = {name: seconds * 1000 / self.claims for name, seconds in window.cpu.items()}
        figures |= latencies(claims.all, {"p50": 0.5, "p95": 0.95, "max": 1.0})
        figures |= {
            "cpu_per_claim": milliseconds["controller"],
            "memory": stage.operator.memory(),
            "log_problems": stage.operator.log_problems(),
        }
        return Result(
            self.name,
            figures,
            {"CPU ms per claim with refill and deletion": milliseconds},
            verdict.remote_faults(claims.all, sights, self.size.max_total, "containers"),
        )


DOCKER_SCENARIOS: Mapping[str, DockerScenario] = {
    scenario.name: scenario
    for scenario in (
        DockerScenario("docker-running", PoolSize(5, 10), WarmStrategy.RUNNING, claims=20),
        DockerScenario("docker-paused", PoolSize(5, 10), WarmStrategy.PAUSED, claims=20),
        DockerScenario("docker-cold", PoolSize(0, 10), WarmStrategy.RUNNING, claims=5),
    )
}
"""Every scenario on an engine by name, in the order in which they run."""
