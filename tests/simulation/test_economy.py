"""What the controller may cost the API server: two writes for a claim, few passes for many, none at rest."""

import asyncio

from prometheus_client import REGISTRY

from controller.model import AgentClaim, AgentPool, ClaimPhase, InstancePhase
from tests.doubles.watch import WatchManners
from tests.simulation.world import World, tell

BURST = 300


def passes(kind: str) -> float:
    return REGISTRY.get_sample_value("agentpool_passes_total", {"kind": kind, "outcome": "done"}) or 0.0


def test_a_burst_of_300_claims_is_few_pool_passes_and_two_writes_for_each_claim() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=BURST, maxTotal=3 * BURST)
        world.start()
        await world.until_warm(BURST)
        await asyncio.sleep(5.0)
        before = passes("pool") + passes("bind")
        world.server.writes.clear()
        for number in range(BURST):
            world.create_claim(f"claim-{number}")
        await world.until(
            lambda: all(claim.status.phase is ClaimPhase.BOUND for claim in world.server.list(AgentClaim)), "all bound"
        )
        taken = passes("pool") + passes("bind") - before
        writes = world.server.count_writes("controller-0")
        assert taken <= 20
        assert writes["patch", "AgentInstance", ""] == BURST
        assert writes["patch", "AgentClaim", "status"] == BURST

    tell(story, manners=WatchManners(delay=(0.002, 0.002)))


def test_a_restart_at_rest_writes_nothing() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=3, maxTotal=6)
        world.start()
        await world.until_warm(3)
        world.create_claim("mine")
        world.create_claim("lost", pool="missing")
        world.create_claim("joining", joinUrl="https://example.org/wait")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.until_phase("joining", ClaimPhase.PENDING_ACCEPTANCE)
        await world.rest()
        announced = len(world.server.events)
        await world.restart()
        await asyncio.sleep(180.0)
        assert not world.server.count_writes("controller-1")
        assert len(world.server.events) == announced
        world.check()

    tell(story)


def test_a_pool_at_rest_costs_no_writes_for_an_hour() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=2)
        world.start()
        await world.until_warm(2)
        await world.rest()
        written = len(world.server.writes)
        await asyncio.sleep(3600.0)
        assert len(world.server.writes) == written

    tell(story)


def test_a_claim_that_is_served_at_once_is_written_twice_by_the_controller() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1)
        world.start()
        await world.until_warm(1)
        world.create_claim("mine")
        await world.rest()
        writes = [(w.verb, w.kind, w.subresource) for w in world.server.writes if w.kind == "AgentClaim"]
        bindings = [w for w in world.server.writes if (w.verb, w.kind, w.subresource) == ("patch", "AgentInstance", "")]
        assert writes == [("create", "AgentClaim", ""), ("patch", "AgentClaim", "status")]
        assert len(bindings) == 1

    tell(story)


def test_the_status_of_a_busy_pool_is_written_at_most_once_a_second() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=5, maxTotal=20)
        world.start()
        await world.until_warm(5)
        began, number = len(world.server.writes), 0
        for number in range(40):
            world.create_claim(f"claim-{number}")
            await asyncio.sleep(0.25)
            world.delete(AgentClaim, f"claim-{number}")
        statuses = [w for w in world.server.writes[began:] if (w.kind, w.subresource) == ("AgentPool", "status")]
        assert len(statuses) <= 12
        await world.rest()
        assert world.server.read(AgentPool, "default", "agents").status.idle == 5
        assert len(world.instances(InstancePhase.IDLE)) == 5

    tell(story)
