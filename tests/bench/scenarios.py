"""The scenarios: what a client does to the pool, and the figures that come of it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench import verdict
from tests.bench.api import CONNECTIONS, ApiError
from tests.bench.claims import Claims, SeenClaim
from tests.bench.figures import Result, Snapshot, Window, percentile
from tests.bench.stage import PoolSize, Setting, Stage, UnfinishedError

SERIAL_CLAIMS = 50
BURST_CLAIMS = 300
POISSON_SECONDS = 30.0
LIFE_SECONDS = (2.0, 5.0)
BIND_SECONDS = 60.0
AFTER_RESTART_SECONDS = 10.0
_LEASES = "leases"


@dataclass(slots=True)
class Measured:
    """What a load leaves behind for the evaluation."""

    claims: Sequence[SeenClaim]
    all_bound: Snapshot
    stored: Sequence[Mapping[str, Any]]
    """The instances while claims were held."""


Load = Callable[[Stage, Claims], Awaitable[Measured]]


async def _bound(stage: Stage, claims: Claims) -> Measured:
    """Wait for the end of every claim, then take the measure of that moment."""
    try:
        async with asyncio.timeout(BIND_SECONDS):
            for claim in claims.all:
                await claim.ended.wait()
    except TimeoutError:
        pass  # the verdict names the claims that are not Bound
    all_bound = await stage.snapshot()
    return Measured(claims.all, all_bound, await stage.api.objects("agentinstances"))


async def serial(stage: Stage, claims: Claims) -> Measured:
    """One claim after another, each deleted as soon as it is Bound; the last one after the measure."""
    for number in range(SERIAL_CLAIMS):
        claim = await claims.make()
        try:
            async with asyncio.timeout(BIND_SECONDS):
                await claim.ended.wait()
        except TimeoutError:
            raise UnfinishedError(f"claim {claim.name} was not bound after {BIND_SECONDS:.0f} s") from None
        if number < SERIAL_CLAIMS - 1:
            await claims.delete(claim)
    return await _bound(stage, claims)


async def burst(stage: Stage, claims: Claims) -> Measured:
    """All claims at once, over as many connections as the client has."""
    slots = asyncio.Semaphore(CONNECTIONS)

    async def make() -> None:
        async with slots:
            await claims.make()

    async with asyncio.TaskGroup() as group:
        for _ in range(BURST_CLAIMS):
            group.create_task(make())
    return await _bound(stage, claims)


def poisson(rate: float, *, seed: int = 20) -> Load:
    """Arrivals at ``rate`` per second on an absolute schedule, whatever the answers do; each claim lives a while."""

    async def load(stage: Stage, claims: Claims) -> Measured:
        dice = random.Random(seed)
        schedule = []
        at = dice.expovariate(rate)
        while at < POISSON_SECONDS:
            schedule.append((at, dice.uniform(*LIFE_SECONDS)))
            at += dice.expovariate(rate)
        began = time.perf_counter()

        async def arrive(due: float) -> SeenClaim:
            await asyncio.sleep(began + due - time.perf_counter())
            return await claims.make(began + due)

        async def live(arrival: asyncio.Task[SeenClaim], life: float) -> None:
            claim = await arrival
            await claim.ended.wait()
            await asyncio.sleep(life)
            await claims.delete(claim)

        async with asyncio.TaskGroup() as group:
            arrivals = [group.create_task(arrive(due)) for due, _ in schedule]
            lives = [
                group.create_task(live(arrival, life)) for arrival, (_, life) in zip(arrivals, schedule, strict=True)
            ]
            await asyncio.wait(arrivals)
            measured = await _bound(stage, claims)
            if any(claim.bound_at is None for claim in measured.claims):
                for task in lives:
                    task.cancel()
        return measured

    return load


@dataclass(frozen=True, slots=True)
class ClaimScenario:
    """A load of claims on a full pool."""

    name: str
    size: PoolSize
    load: Load = field(repr=False)

    async def run(self, setting: Setting) -> Result:
        """Measure it once; faults and a missing end are in the result."""
        stage = Stage(setting, self.name, self.size)
        return await _played(stage, self._play)

    async def _play(self, stage: Stage) -> Result:
        await stage.start_controller()
        fill = await stage.create_pool()
        await stage.api.warm()
        claims = Claims(stage.api, stage.pool)
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
        figures |= {"fill": fill, "memory": stage.memory(), "log_problems": stage.log_problems()}
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
    latencies = [claim.milliseconds for claim in claims if claim.milliseconds is not None]
    if latencies:
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        figures |= {name: percentile(latencies, share) for name, share in shares.items()}
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
        stage = Stage(setting, self.name, self.size)
        return await _played(stage, self._play)

    async def _play(self, stage: Stage) -> Result:
        await stage.start_controller()
        figures = {"fill": await stage.create_pool(), "memory": stage.memory()}
        versions = await _versions(stage)
        figures["stop"] = await stage.stop_controller()
        figures["ready"] = await stage.start_controller()
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
            "memory_restarted": stage.memory(),
            "log_problems": stage.log_problems(),
        }
        claims = Claims(stage.api, stage.pool)
        async with claims.watched():
            await claims.make()
            measured = await _bound(stage, claims)
        if measured.claims[0].milliseconds is not None:
            figures["claim_after_restart"] = measured.claims[0].milliseconds
        names = Counter({request.name: count for request, count in later.requests.items()})
        faults = verdict.faults(measured.claims, await stage.ledger(), measured.stored, self.size.max_total)
        return Result(self.name, figures, {"requests until 10 s after /readyz": dict(sorted(names.items()))}, faults)


async def _versions(stage: Stage) -> dict[str, str]:
    return {
        f"{plural}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for plural in ("agentpools", "agentinstances")
        for item in await stage.api.objects(plural)
    }


async def _played(stage: Stage, play: Callable[[Stage], Awaitable[Result]]) -> Result:
    """The result of a play, with the clearing-up after it and every reason why it did not end."""
    result = Result(stage.pool, {})
    unfinished: list[str] = []
    leaks: list[str] = []
    try:
        async with stage.set_up():
            try:
                result = await play(stage)
                await stage.clear()
                leaks = verdict.leaks(await stage.ledger())
                await stage.stop_controller()
            finally:
                await stage.force()
    except* (UnfinishedError, ApiError, aiohttp.ClientError, OSError) as group:
        unfinished = [str(error) or type(error).__name__ for error in _leaves(group)]
    return Result(
        result.scenario, result.figures, result.tables, [*result.faults, *leaks], "; ".join(unfinished) or None
    )


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


SCENARIOS: Mapping[str, ClaimScenario | RestartScenario] = {
    scenario.name: scenario
    for scenario in (
        ClaimScenario("serial", PoolSize(20, 100), serial),
        ClaimScenario("burst", PoolSize(300, 700), burst),
        ClaimScenario("poisson15", PoolSize(60, 400), poisson(15)),
        ClaimScenario("poisson45", PoolSize(100, 600), poisson(45)),
        RestartScenario("restart", PoolSize(1000, 1100)),
    )
}
"""Every scenario by name, in the order in which they run."""
