"""Idle instances that wait frozen: checked all the same, woken for their claim, and never frozen once they have one."""

import asyncio
from typing import Any

import pytest

from controller.model import AgentInstance, ClaimPhase, InstancePhase
from tests.doubles.backend import Habits
from tests.simulation.weather import Fate
from tests.simulation.world import World, tell

OFTEN = {"intervalSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 1}


async def warm(world: World, idle: int = 2, **spec: Any) -> None:
    whole: dict[str, Any] = {"minIdle": idle, "maxTotal": 10, "warmStrategy": "Paused", "health": OFTEN} | spec
    world.create_pool(**whole)
    world.start()
    await world.until_warm(idle)
    if world.server.list(AgentInstance) and spec.get("warmStrategy") != "Running":
        await world.until(lambda: frozen(world) == idle, "all are frozen")


def frozen(world: World) -> int:
    return sum(machine.paused for machine in world.machines.running.values())


def test_idle_instances_are_frozen_once_they_are_ready() -> None:
    async def story(world: World) -> None:
        await warm(world, 3)
        await world.rest()

    tell(story)


def test_idle_instances_of_a_running_pool_are_not() -> None:
    async def story(world: World) -> None:
        await warm(world, 3, warmStrategy="Running")
        await world.rest()
        assert not any(" pause " in step for step in world.trace)

    tell(story)


def test_a_claim_wakes_its_instance_and_it_stays_awake() -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest(quiet=20.0)
        holder = world.holder("mine")
        assert holder is not None
        assert not world.machines.running[holder.metadata.uid].paused
        assert frozen(world) == 2

    tell(story)


def test_the_instance_wakes_while_its_binding_is_written() -> None:
    async def story(world: World) -> None:
        await warm(world, 1)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        asked = next(number for number, step in enumerate(world.trace) if " resume " in step)
        bound = next(number for number, step in enumerate(world.trace) if "Idle for mine" in step)
        assert asked < bound

    tell(story)


def test_an_instance_that_hangs_while_it_is_frozen_is_found_and_replaced() -> None:
    async def story(world: World) -> None:
        await warm(world, 1)
        [sick] = world.machines.running.values()
        sick.hung_until = float("inf")
        await world.until(lambda: sick.uid not in world.machines.running, "the sick one is destroyed")
        await world.until_warm(1)
        await world.rest(quiet=20.0)

    tell(story)


def test_a_pause_that_arrives_after_the_claim_is_undone() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=4, warmStrategy="Paused", health=OFTEN)
        world.weather.destine("pause .*", Fate.LATE)
        world.start()
        await world.until_warm(1)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest(quiet=30.0)

    tell(story)


def test_an_instance_that_cannot_be_woken_for_a_moment_is_still_handed_out() -> None:
    async def story(world: World) -> None:
        await warm(world, 1)
        world.weather.destine("resume .*", Fate.LOST)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        assert world.claim("mine").status.attempts is None
        await world.rest(quiet=20.0)

    tell(story)


def test_a_pool_that_no_longer_pauses_wakes_its_instances() -> None:
    async def story(world: World) -> None:
        await warm(world, 2)
        world.change_pool(warmStrategy="Running")
        await world.until(lambda: frozen(world) == 0, "all are awake")
        assert sum(world.machines.launches.values()) == 2

    tell(story)


def test_a_pool_that_begins_to_pause_freezes_what_it_has() -> None:
    async def story(world: World) -> None:
        await warm(world, 2, warmStrategy="Running")
        world.change_pool(warmStrategy="Paused")
        await world.until(lambda: frozen(world) == 2, "all are frozen")
        assert sum(world.machines.launches.values()) == 2

    tell(story)


def test_frozen_instances_are_taken_over_by_the_next_controller() -> None:
    async def story(world: World) -> None:
        await warm(world, 2)
        await world.restart()
        await asyncio.sleep(2.0)
        assert len(world.instances(InstancePhase.IDLE)) == 2
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest(quiet=20.0)

    tell(story)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["pause .*", "resume .*", "rename .*"])
def test_a_death_at_a_change_of_power_or_name_is_made_good(call: str, when: Any) -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=4, warmStrategy="Paused", health=OFTEN)
        world.start()
        world.doom(1, when, call)
        await world.until_warm(1)
        if not call.startswith("pause"):
            world.create_claim("mine")
        await world.death()
        world.start()
        if call.startswith("pause"):
            world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest(quiet=20.0)

    tell(story)


def test_two_controllers_at_once_leave_no_claimed_instance_frozen() -> None:
    async def story(world: World) -> None:
        await warm(world, 3)
        world.start()
        for number in range(3):
            world.create_claim(f"claim-{number}")
        for number in range(3):
            await world.until_phase(f"claim-{number}", ClaimPhase.BOUND)
        world.processes[0].die()
        await world.rest(quiet=30.0)

    tell(story)


def test_a_claimed_remote_is_renamed_once() -> None:
    async def story(world: World) -> None:
        await warm(world, 1)
        world.create_claim("mine", agentName="Ada")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest(quiet=20.0)
        holder = world.holder("mine")
        assert holder is not None
        assert world.machines.running[holder.metadata.uid].agent_name == "Ada"
        assert sum("rename" in step for step in world.trace) == 1

    tell(story, habits=Habits())
