"""What clients do to a pool of virtual instances."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.api import CONNECTIONS
from tests.bench.claims import BIND_SECONDS, Claims, SeenClaim
from tests.bench.figures import Snapshot
from tests.bench.virtual_stage import VirtualStage

SERIAL_CLAIMS = 50
BURST_CLAIMS = 300
POISSON_SECONDS = 30.0
LIFE_SECONDS = (2.0, 5.0)


@dataclass(slots=True)
class Measured:
    """What a load leaves behind for the evaluation."""

    claims: Sequence[SeenClaim]
    all_bound: Snapshot
    stored: Sequence[Mapping[str, Any]]
    """The instances while claims were held."""


Load = Callable[[VirtualStage, Claims], Awaitable[Measured]]


async def all_bound(stage: VirtualStage, claims: Claims) -> Measured:
    """Wait for the end of every claim, then take the measure of that moment."""
    try:
        async with asyncio.timeout(BIND_SECONDS):
            for claim in claims.all:
                await claim.ended.wait()
    except TimeoutError:
        pass  # the verdict names the claims that are not Bound
    return Measured(claims.all, await stage.snapshot(), await stage.pool.instances())


async def serial(stage: VirtualStage, claims: Claims) -> Measured:
    """One claim after another, each deleted as soon as it is Bound; the last one after the measure."""
    for number in range(SERIAL_CLAIMS):
        claim = await claims.make()
        await claim.bound()
        if number < SERIAL_CLAIMS - 1:
            await claims.delete(claim)
    return await all_bound(stage, claims)


async def burst(stage: VirtualStage, claims: Claims) -> Measured:
    """All claims at once, over as many connections as the client has."""
    slots = asyncio.Semaphore(CONNECTIONS)

    async def make() -> None:
        async with slots:
            await claims.make()

    async with asyncio.TaskGroup() as group:
        for _ in range(BURST_CLAIMS):
            group.create_task(make())
    return await all_bound(stage, claims)


def poisson(rate: float, *, seed: int = 20) -> Load:
    """Arrivals at ``rate`` per second on an absolute schedule, whatever the answers do; each claim lives a while."""

    async def load(stage: VirtualStage, claims: Claims) -> Measured:
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
            measured = await all_bound(stage, claims)
            if any(claim.bound_at is None for claim in measured.claims):
                for task in lives:
                    task.cancel()
        return measured

    return load
