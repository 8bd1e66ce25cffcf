"""Answers that are lost, requests that arrive after they were given up, watches that fall silent, two at once."""

import asyncio
from typing import Any

import pytest

from controller.model import AgentClaim, AgentInstance, AgentPool, ClaimPhase, InstancePhase
from tests.doubles.backend import Habits
from tests.doubles.inmemory_runtime import UNWANTED
from tests.doubles.watch import WatchManners
from tests.simulation.weather import Climate, Fate
from tests.simulation.world import World, tell


async def warm(world: World, idle: int = 2, **spec: Any) -> None:
    world.create_pool(minIdle=idle, maxTotal=10, **spec)
    world.start()
    await world.until_warm(idle)


def test_a_lost_answer_to_a_creation_does_not_create_twice() -> None:
    async def story(world: World) -> None:
        world.weather.destine("create .*", Fate.UNANSWERED)
        await warm(world, 1)
        await world.rest()
        assert world.server.count_writes("controller-0")["create", "AgentInstance", ""] == 1
        assert sum(world.machines.launches.values()) == 1

    tell(story)


def test_a_lost_answer_to_a_launch_does_not_launch_twice() -> None:
    async def story(world: World) -> None:
        world.weather.destine("launch .*", Fate.UNANSWERED)
        await warm(world, 1)
        await world.rest()
        assert sum(world.machines.launches.values()) == 1

    tell(story)


def test_a_creation_that_arrives_after_it_was_given_up_is_one_too_many_for_a_moment() -> None:
    async def story(world: World) -> None:
        world.weather.destine("create .*", Fate.LATE)
        await warm(world, 1)
        await world.rest()
        assert len(world.instances()) == len(world.machines.running) == 1
        assert world.server.count_writes("controller-0")["create", "AgentInstance", ""] == 2

    tell(story)


@pytest.mark.parametrize("seed", range(6))
def test_a_binding_that_arrives_after_it_was_given_up_never_moves_a_claim_that_is_bound(seed: int) -> None:
    async def story(world: World) -> None:
        await warm(world, 3)
        world.weather.destine(r"patch agentinstances \S+", Fate.LATE)
        world.create_claim("mine")
        promised = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert world.claim("mine").status.instance == promised.status.instance
        assert world.claim("mine").status.conversation_id == promised.status.conversation_id
        held = [i for i in world.instances() if i.spec.claim_ref is not None]
        assert [instance.metadata.name for instance in held] == [promised.status.instance]

    tell(story, seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_status_that_arrives_after_it_was_given_up_never_takes_a_promise_back(seed: int) -> None:
    async def story(world: World) -> None:
        world.weather.destine(r"patch agentclaims \S+ status", Fate.LATE)
        world.create_pool(minIdle=0)
        world.start()
        world.create_claim("mine")
        promised = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert world.claim("mine").status == promised.status

    tell(story, seed, habits=Habits(boot=(0.5, 2.5)))


def test_a_deletion_that_is_learned_from_the_answer_to_a_write_is_acted_on() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, health={"intervalSeconds": 3600})
        world.start()
        await world.until(lambda: len(world.instances(InstancePhase.STARTING)) == 1, "an instance starts")
        name = world.instances()[0].metadata.name
        world.weather.ambush(rf"patch agentinstances {name} status", lambda: world.delete(AgentInstance, name))
        await world.until(lambda: world.server.find(AgentInstance, name) is None, "the instance is gone", within=10.0)
        await world.rest()

    tell(story, manners=WatchManners(delay=(0.5, 0.5)))


def test_what_a_broken_watch_never_told_is_found_by_the_relist() -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        held = world.holder("mine")
        assert held is not None
        world.process.watch.lose(5.0)
        world.delete(AgentClaim, "mine")
        await asyncio.sleep(6.0)
        assert world.server.find(AgentInstance, held.metadata.name) is not None
        await world.rest(quiet=100.0)
        assert world.server.find(AgentInstance, held.metadata.name) is None

    tell(story)


def test_a_silent_watch_does_not_make_the_controller_repeat_itself() -> None:
    async def story(world: World) -> None:
        await warm(world, 3)
        world.process.watch.pause(30.0)
        for number in range(2):
            world.create_claim(f"claim-{number}")
        await asyncio.sleep(40.0)
        await world.rest()
        assert world.server.count_writes("controller-0")["create", "AgentInstance", ""] == 5

    tell(story)


@pytest.mark.parametrize("seed", range(6))
def test_two_controllers_at_once_give_no_claim_two_instances_for_good(seed: int) -> None:
    async def story(world: World) -> None:
        await warm(world, 4)
        old = world.process
        world.start()
        for number in range(8):
            world.create_claim(f"claim-{number}")
            await asyncio.sleep(0.02)
        await asyncio.sleep(20.0)
        world.check()
        old.die()
        await old.buried()
        await world.rest()
        claims = world.server.list(AgentClaim)
        assert {claim.status.phase for claim in claims} <= {ClaimPhase.BOUND, ClaimPhase.EVICTED, ClaimPhase.PENDING}
        assert len({claim.status.conversation_id for claim in claims if claim.status.phase is ClaimPhase.BOUND}) >= 4

    tell(story, seed, climate=Climate(latency=(0.001, 0.05)), manners=WatchManners(delay=(0.001, 0.2)))


def test_an_instance_that_hangs_is_replaced_when_its_time_is_up() -> None:
    async def story(world: World) -> None:
        await warm(world, 1, claims={"provisionTimeoutSeconds": 3})
        machine = next(iter(world.machines.running.values()))
        machine.hung_until = 1e6
        world.create_claim("mine")
        claim = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert claim.status.attempts == 1
        assert machine.uid not in world.machines.running
        assert not machine.conversations

    tell(story)


def test_a_claim_that_waits_to_be_accepted_is_bound_once_it_is() -> None:
    async def story(world: World) -> None:
        await warm(world, 1)
        world.create_claim("mine", joinUrl="https://example.org/wait")
        await world.until_phase("mine", ClaimPhase.PENDING_ACCEPTANCE)
        await asyncio.sleep(5.0)
        await world.restart()
        for machine in world.machines.running.values():
            machine.accepted = True
        claim = await world.until_phase("mine", ClaimPhase.BOUND)
        assert claim.status.joined
        await world.rest()

    tell(story)


def test_a_claim_that_no_runtime_takes_fails_and_its_instance_is_replaced() -> None:
    async def story(world: World) -> None:
        await warm(world, 1)
        name = world.instances()[0].metadata.name
        world.create_claim("mine", agentName=UNWANTED)
        claim = await world.until_phase("mine", ClaimPhase.FAILED)
        await world.rest()
        assert claim.status.message
        assert world.server.find(AgentInstance, name) is None
        assert len(world.instances(InstancePhase.IDLE)) == 1

    tell(story)


def test_a_remote_whose_instance_is_gone_is_ended() -> None:
    async def story(world: World) -> None:
        await warm(world, 1)
        stray = next(iter(world.machines.running.values()))
        order = stray.order
        world.delete(AgentInstance, order.name)
        await world.until(lambda: world.server.find(AgentInstance, order.name) is None, "it is gone")
        world.machines.launch(order)
        await world.rest()
        assert order.uid not in world.machines.running

    tell(story)


def test_a_deleted_pool_takes_everything_with_it() -> None:
    async def story(world: World) -> None:
        await warm(world, 3)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        world.delete(AgentPool, "agents")
        await world.rest()
        assert not world.instances()
        assert not world.machines.running
        assert world.claim("mine").status.phase is ClaimPhase.EVICTED

    tell(story)


def test_an_api_server_that_is_away_stops_nothing_for_good() -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.weather.down.add("cluster")
        world.create_claim("mine")
        await asyncio.sleep(30.0)
        assert world.claim("mine").status.phase is None
        world.weather.clear()
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()

    tell(story)
