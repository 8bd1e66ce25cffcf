"""The scenarios with virtual instances, and the figures that come of them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench import verdict
from tests.bench.claims import Claims, latencies
from tests.bench.figures import Result, Snapshot, Window, percentile
from tests.bench.loads import Load, Measured, all_bound, burst, poisson, serial
from tests.bench.pools import PoolSize
from tests.bench.stage import Setting, played
from tests.bench.virtual_stage import VirtualStage

AFTER_RESTART_SECONDS = 10.0
_LEASES = "leases"


@dataclass(frozen=True, slots=True)
class ClaimScenario:
    """A load of claims on a full pool."""

    name: str
    size: PoolSize
    load: Load = field(repr=False)

    async def run(self, setting: Setting) -> Result:
        """Measure it once; faults and a missing end are in the result."""
        stage = VirtualStage(setting, self.name, self.size)
        return await played(stage, self._play)

    async def _play(self, stage: VirtualStage) -> Result:
        await stage.operator.start()
        fill = await stage.create_pool()
        await stage.api.warm()
        claims = Claims(stage.api, stage.name)
        stage.profile(begin=True)
        before = await stage.snapshot()
        async with claims.watched():
            measured = await self.load(stage, claims)
            async with asyncio.TaskGroup() as group:
                for claim in measured.claims:
                    group.create_task(claims.delete(claim))
            await stage.rest()
        after = await stage.snapshot()
        stage.profile(begin=False)
        ledger = await stage.ledger()
        figures = _figures(measured, before, after)
        figures |= {"fill": fill, "memory": stage.operator.memory(), "log_problems": stage.operator.log_problems()}
        return Result(
            self.name,
            figures,
            _tables(measured, before, after),
            verdict.faults(measured.claims, ledger, measured.stored, self.size.max_total),
        )


def _figures(measured: Measured, before: Snapshot, after: Snapshot) -> dict[str, float]:
    claims, number = measured.claims, len(measured.claims)
    to_bound, whole = Window.between(before, measured.all_bound), Window.between(before, after)
    figures = {
        "cpu_to_bound": to_bound.cpu["controller"] * 1000 / number,
        "cpu_per_claim": whole.cpu["controller"] * 1000 / number,
        "claim_writes_to_bound": sum(claim.writes_to_bound for claim in claims) / number,
        "writes_per_life": whole.writes("agentinstances", "agentclaims") / number,
        "writes_per_claim": whole.writes() / number,
        "reads_per_claim": sum(whole.by_name(writes=False).values()) / number,
        "other_cores": whole.other_cores,
        "late_p99": percentile([(claim.posted_at - claim.due_at) * 1000 for claim in claims], 0.99),
    }
    figures |= latencies(claims, {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0})
    if "max" in figures:
        bound_at = max(claim.bound_at for claim in claims if claim.bound_at is not None)
        figures["all_bound"] = bound_at - min(claim.posted_at for claim in claims)
    if not any(request.verb == "delete" for request in to_bound.requests):
        # As long as nothing ends, a patch of an instance besides its status is a claimRef.
        binding = to_bound.writes("agentclaims") + _claim_refs(to_bound)
        figures["writes_to_bound"] = binding / number
    return figures


def _claim_refs(window: Window) -> int:
    return sum(
        count
        for request, count in window.requests.items()
        if request.writes
        and request.verb != "create"
        and request.resource == "agentinstances"
        and not request.subresource
    )


def _tables(measured: Measured, before: Snapshot, after: Snapshot) -> dict[str, dict[str, float]]:
    to_bound, whole, number = (
        Window.between(before, measured.all_bound),
        Window.between(before, after),
        len(measured.claims),
    )

    def per_claim(counts: Counter[str]) -> dict[str, float]:
        return {name: count / number for name, count in sorted(counts.items())}

    return {
        "writes per claim until all Bound": per_claim(to_bound.by_name(writes=True)),
        "writes per claim with refill and deletion": per_claim(whole.by_name(writes=True)),
        "reads per claim with refill and deletion": per_claim(whole.by_name(writes=False)),
        "passes per claim with refill and deletion": per_claim(whole.passes),
        "CPU ms per claim with refill and deletion": {
            name: seconds * 1000 / number for name, seconds in whole.cpu.items()
        },
    }


@dataclass(frozen=True, slots=True)
class RestartScenario:
    """The controller is stopped and started again while a large pool is at rest."""

    name: str
    size: PoolSize

    async def run(self, setting: Setting) -> Result:
        """Measure it once; faults and a missing end are in the result."""
        stage = VirtualStage(setting, self.name, self.size)
        return await played(stage, self._play)

    async def _play(self, stage: VirtualStage) -> Result:
        await stage.operator.start()
        figures = {"fill": await stage.create_pool(), "memory": stage.operator.memory()}
        versions = await _versions(stage)
        figures["stop"] = await stage.operator.stop()
        figures["ready"] = await stage.operator.start()
        ready = await stage.snapshot()
        await asyncio.sleep(AFTER_RESTART_SECONDS)
        later = await stage.snapshot()
        stage.profile(begin=False)
        changed = {name for name, version in (await _versions(stage)).items() if versions.get(name) != version}
        written = [request for request in later.requests if request.writes and request.resource != _LEASES]
        figures |= {
            "writes_after_restart": sum(later.requests[request] for request in written),
            "changed_after_restart": len(changed),
            "other_cores": Window.between(ready, later).other_cores,
            "cpu_restart": ready.cpu["controller"],
            "cpu_at_rest": (later.cpu["controller"] - ready.cpu["controller"]) * 1000 / (later.at - ready.at),
            "memory_restarted": stage.operator.memory(),
            "log_problems": stage.operator.log_problems(),
        }
        claims = Claims(stage.api, stage.name)
        async with claims.watched():
            await claims.make()
            measured = await all_bound(stage, claims)
        if measured.claims[0].milliseconds is not None:
            figures["claim_after_restart"] = measured.claims[0].milliseconds
        names = Counter({request.name: count for request, count in later.requests.items()})
        faults = verdict.faults(measured.claims, await stage.ledger(), measured.stored, self.size.max_total)
        return Result(self.name, figures, {"requests until 10 s after /readyz": dict(sorted(names.items()))}, faults)


async def _versions(stage: VirtualStage) -> dict[str, str]:
    return {
        f"{plural}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for plural in ("agentpools", "agentinstances")
        for item in await stage.api.objects(plural)
    }


VIRTUAL_SCENARIOS: Mapping[str, ClaimScenario | RestartScenario] = {
    scenario.name: scenario
    for scenario in (
        ClaimScenario("serial", PoolSize(20, 100), serial),
        ClaimScenario("burst", PoolSize(300, 700), burst),
        ClaimScenario("poisson15", PoolSize(60, 400), poisson(15)),
        ClaimScenario("poisson45", PoolSize(100, 600), poisson(45)),
        RestartScenario("restart", PoolSize(1000, 1100)),
    )
}
"""Every scenario with virtual instances by name, in the order in which they run."""
