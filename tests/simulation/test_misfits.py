"""Objects that are there and cannot be read: a newer operator wrote them, and an older one has taken its place."""

import asyncio

from controller.model import AgentClaim, AgentInstance, AgentPool, ClaimPhase, InstancePhase
from tests.simulation.world import NAMESPACE, World, tell


async def serving(world: World) -> AgentInstance:
    """A pool with one idle instance, and one that serves a claim: the latter."""
    world.create_pool(minIdle=1, maxTotal=10)
    world.start()
    world.create_claim("mine")
    await world.until_phase("mine", ClaimPhase.BOUND)
    await world.until_warm(1)
    held = world.holder("mine")
    assert held is not None
    return held


def running(world: World) -> set[str]:
    return set(world.machines.running)


def test_the_instances_of_a_pool_that_cannot_be_read_live_on() -> None:
    async def story(world: World) -> None:
        await serving(world)
        before = running(world)
        pool = world.server.read(AgentPool, NAMESPACE, "agents")
        world.server.misfits.add(pool.metadata.uid)
        await world.restart()
        await asyncio.sleep(300.0)
        assert running(world) == before
        assert len(world.instances(InstancePhase.IDLE)) == len(world.instances(InstancePhase.CLAIMED)) == 1
        assert world.claim("mine").status.phase is ClaimPhase.BOUND
        world.delete(AgentClaim, "mine")
        await world.until(lambda: len(world.instances()) == 1, "what was given back is ended all the same")
        world.server.misfits.clear()
        await world.restart()
        await world.rest()
        assert len(world.instances()) == 1

    tell(story)


def test_a_claim_that_cannot_be_read_any_more_keeps_its_agent() -> None:
    async def story(world: World) -> None:
        held = await serving(world)
        world.server.misfits.add(world.claim("mine").metadata.uid)
        await asyncio.sleep(300.0)
        assert world.server.find(AgentInstance, held.metadata.name) is not None
        await world.restart()
        await asyncio.sleep(300.0)
        assert world.server.find(AgentInstance, held.metadata.name) is not None
        assert held.metadata.uid in running(world)
        world.server.misfits.clear()
        await world.restart()
        await world.rest()
        assert world.claim("mine").status.instance == held.metadata.name

    tell(story)


def test_no_orphan_is_seen_in_the_remote_of_an_instance_that_cannot_be_read() -> None:
    async def story(world: World) -> None:
        held = await serving(world)
        world.server.misfits.add(held.metadata.uid)
        await world.restart()
        await asyncio.sleep(300.0)
        assert held.metadata.uid in running(world)
        assert world.claim("mine").status.phase is ClaimPhase.BOUND
        world.server.misfits.clear()
        await world.rest()
        assert world.claim("mine").status.instance == held.metadata.name

    tell(story)


def test_a_pool_that_is_deleted_while_it_cannot_be_read_takes_its_instances_along() -> None:
    async def story(world: World) -> None:
        await serving(world)
        world.server.misfits.add(world.server.read(AgentPool, NAMESPACE, "agents").metadata.uid)
        await world.restart()
        await asyncio.sleep(5.0)
        world.delete(AgentPool, "agents")
        await world.until(lambda: not world.instances(), "nothing is left")
        await world.rest()
        assert not running(world)

    tell(story)
