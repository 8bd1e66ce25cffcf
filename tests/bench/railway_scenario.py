"""The scenario on a twin of Railway: what a claim takes, and what Railway is asked for."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench import verdict
from tests.bench.births import Births
from tests.bench.claims import Claims, latencies
from tests.bench.figures import Result, Window, percentile
from tests.bench.pools import PoolSize
from tests.bench.railway_stage import PLAN, RailwayStage
from tests.bench.services import DEPLOY_SECONDS, Services
from tests.bench.stage import Setting, played
from tests.railway import TwinProcess

_WRITTEN = ("agentpools", "agentinstances", "agentclaims", "events")


@dataclass(frozen=True, slots=True)
class RailwayScenario:
    """One claim after another, each on a pool at rest."""

    name: str
    size: PoolSize
    claims: int

    async def run(self, setting: Setting) -> Result:
        """Measure it once; faults and a missing end are in the result."""
        try:
            with TwinProcess(plan=PLAN) as twin:
                return await played(RailwayStage(setting, Services(twin), self.name, self.size), self._play)
        except ChildProcessError as error:
            return Result(self.name, {}, unfinished=str(error))

    async def _play(self, stage: RailwayStage) -> Result:
        await stage.operator.start()
        fill = await stage.create_pool()
        filling = await stage.services.requests()
        figures = {"fill": fill, **await stage.idle()}
        await stage.api.warm()
        claims, births = Claims(stage.api, stage.name), Births()
        sights = []
        asked, before, used = await stage.services.requests(), await stage.snapshot(), stage.services.agents_cpu()
        async with claims.watched(), births.watched(stage.api):
            for _ in range(self.claims):
                claim = await claims.make()
                await claim.bound()
                sights.append(await stage.sight(claim))
                await claims.delete(claim)
                await stage.rest()
        window, asked = Window.between(before, await stage.snapshot()), await stage.services.requests() - asked
        figures["other_cores"] = max(figures["other_cores"], stage.other_cores(window, used))
        milliseconds = {name: seconds * 1000 / self.claims for name, seconds in window.cpu.items()}
        figures |= latencies(claims.all, {"p50": 0.5, "p95": 0.95, "max": 1.0})
        figures |= birth_figures(births)
        figures |= {
            "writes_per_life": window.writes("agentinstances", "agentclaims") / self.claims,
            "writes_per_claim": window.writes(*_WRITTEN) / self.claims,
            "cpu_per_claim": milliseconds["controller"],
            "requests_per_creation": filling.total() / self.size.min_idle,
            "changes_per_creation": await stage.services.changes_per_service(),
            "requests_per_claim": asked.total() / self.claims,
            "memory": stage.operator.memory(),
            "log_problems": stage.operator.log_problems(),
        }
        return Result(
            self.name,
            figures,
            {
                "writes per claim with refill and deletion": _each(window.by_name(writes=True), self.claims),
                "requests to Railway per instance while the pool is filled": _each(filling, self.size.min_idle),
                "requests to Railway per claim with refill and deletion": _each(asked, self.claims),
                "CPU ms per claim with refill and deletion": milliseconds,
            },
            [
                *verdict.remote_faults(claims.all, sights, self.size.max_total, "services"),
                *verdict.railway_faults(await stage.services.state()),
            ],
        )


def birth_figures(births: Births) -> dict[str, float]:
    """What instances took from creation to Idle without what the twin takes in any case, and that."""
    values = [seconds - DEPLOY_SECONDS for seconds in births.seconds]
    if not values:
        return {}
    return {"idle_p50": percentile(values, 0.5), "idle_max": max(values), "twin_deploys": DEPLOY_SECONDS}


def _each(counts: Counter[str], number: int) -> dict[str, float]:
    return {name: count / number for name, count in sorted(counts.items())}


RAILWAY_SCENARIOS: Mapping[str, RailwayScenario] = {
    scenario.name: scenario for scenario in (RailwayScenario("railway", PoolSize(5, 10), claims=20),)
}
"""Every scenario on the twin by name, in the order in which they run."""
