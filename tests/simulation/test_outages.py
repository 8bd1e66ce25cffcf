"""The backend is away, and with it the ways to its instances, which live on."""

import asyncio

from controller.model import AgentInstance, ClaimPhase, InstancePhase
from tests.simulation.world import World, tell

CHECKS = {"intervalSeconds": 60, "failureThreshold": 2, "timeoutSeconds": 1}


async def warm(world: World) -> None:
    world.create_pool(minIdle=2, maxTotal=4, health=CHECKS)
    world.start()
    await world.until_warm(2)


async def outage(world: World, seconds: float = 240.0) -> None:
    """Long enough for every check to fail many times."""
    world.weather.down |= {"backend", "runtime"}
    await asyncio.sleep(seconds)
    world.check()


def test_idle_instances_outlive_an_outage_in_which_nobody_reaches_them() -> None:
    async def story(world: World) -> None:
        await warm(world)
        await outage(world)
        assert {instance.status.phase for instance in world.instances()} == {InstancePhase.IDLE}
        world.weather.clear()
        await world.rest()
        assert sum(world.machines.launches.values()) == 2

    tell(story)


def test_nobody_gets_one_of_them_before_it_answers_again() -> None:
    async def story(world: World) -> None:
        await warm(world)
        await outage(world)
        world.create_claim("mine")
        await asyncio.sleep(30)
        assert world.holder("mine") is None
        world.weather.clear()
        await world.until_phase("mine", ClaimPhase.BOUND, within=120)
        assert world.claim("mine").status.attempts is None
        await world.rest()

    tell(story)


def test_a_claimed_one_says_that_it_is_not_reached_and_is_well_again_afterwards() -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.create_claim("mine")
        bound = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.until_warm(2)
        await outage(world)
        holder = world.server.read(AgentInstance, "default", bound.status.instance or "")
        assert holder.status.phase is InstancePhase.CRASHED
        world.weather.clear()
        await world.rest()
        holder = world.server.read(AgentInstance, "default", bound.status.instance or "")
        assert holder.status.phase is InstancePhase.CLAIMED
        assert sum(world.machines.launches.values()) == 3

    tell(story)
