"""The controller dies on the claim path: one story for each row of the table in the design of the claim path."""

from typing import Literal

import pytest

from controller.model import AgentClaim, AgentInstance, ClaimPhase, InstancePhase
from tests.doubles.backend import Habits
from tests.simulation.weather import Fate
from tests.simulation.world import World, tell

BINDING = r"patch agentinstances \S+"
PROVISION = r"provision .*"
PROMISE = r"patch agentclaims \S+ status"
WITHOUT_KEYS = Habits(keys=lambda _: False)


async def warm(world: World, idle: int = 2) -> None:
    world.create_pool(minIdle=idle, maxTotal=10)
    world.start()
    await world.until_warm(idle)


async def dies_at(world: World, request: str, when: Literal["before", "after"] = "after") -> None:
    await warm(world)
    world.doom(1, when, request)
    world.create_claim("mine")
    await world.death()


def test_a_death_after_the_binding_leaves_the_claim_its_instance() -> None:
    async def story(world: World) -> None:
        await dies_at(world, BINDING)
        bound = world.holder("mine")
        assert bound is not None
        assert world.claim("mine").status.phase is None
        world.start()
        claim = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert claim.status.instance == bound.metadata.name
        assert [key for _, key in world.programs.made] == [claim.metadata.uid]

    tell(story)


def test_a_death_after_provisioning_leaves_the_claim_its_conversation() -> None:
    async def story(world: World) -> None:
        await dies_at(world, PROVISION)
        machine, _ = world.programs.made[0]
        assert world.claim("mine").status.phase is None
        world.start()
        claim = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert claim.status.conversation_id == machine.conversations[claim.metadata.uid].conversation_id
        assert len(world.programs.made) == 1

    tell(story)


def test_a_death_after_provisioning_a_runtime_without_keys_binds_the_claim_anew_and_says_so() -> None:
    async def story(world: World) -> None:
        await dies_at(world, PROVISION)
        first = world.holder("mine")
        assert first is not None
        world.start()
        claim = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert claim.status.instance != first.metadata.name
        assert claim.status.attempts == 1
        assert world.server.find(AgentInstance, first.metadata.name) is None
        assert first.metadata.uid not in world.machines.running
        assert "Rebinding" in {event.reason for _, event in world.server.events}

    tell(story, habits=WITHOUT_KEYS)


def test_a_death_after_the_promise_leaves_nothing_to_do_for_the_claim() -> None:
    async def story(world: World) -> None:
        await dies_at(world, PROMISE)
        promised = world.claim("mine").status
        assert promised.phase is ClaimPhase.BOUND
        world.start()
        await world.rest()
        assert world.claim("mine").status == promised
        assert ("patch", "AgentClaim", "status") not in world.server.count_writes("controller-1")
        assert len(world.programs.made) == 1

    tell(story)


@pytest.mark.parametrize("request_", [BINDING, PROVISION, PROMISE], ids=["binding", "provision", "promise"])
def test_a_claim_that_was_deleted_while_nobody_looked_gives_its_instance_back(request_: str) -> None:
    async def story(world: World) -> None:
        await dies_at(world, request_)
        held = world.holder("mine")
        assert held is not None
        world.delete(AgentClaim, "mine")
        world.start()
        await world.rest()
        assert world.server.find(AgentInstance, held.metadata.name) is None
        assert held.metadata.uid not in world.machines.running
        assert len(world.instances(InstancePhase.IDLE)) == 2

    tell(story)


@pytest.mark.parametrize("request_", [BINDING, PROVISION, PROMISE], ids=["binding", "provision", "promise"])
def test_a_claim_that_is_deleted_on_its_way_gives_its_instance_back(request_: str) -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.weather.ambush(request_, lambda: world.delete(AgentClaim, "mine"))
        world.create_claim("mine")
        await world.rest()
        assert world.server.find(AgentClaim, "mine") is None
        assert len(world.instances()) == len(world.instances(InstancePhase.IDLE)) == 2
        assert len(world.machines.running) == 2

    tell(story)


@pytest.mark.parametrize("request_", [BINDING, PROVISION, PROMISE], ids=["binding", "provision", "promise"])
@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED], ids=str)
def test_a_request_on_the_way_that_fails_costs_the_claim_time_and_no_second_conversation(
    request_: str, fate: Fate
) -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.weather.destine(request_, fate)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert world.claim("mine").status.attempts is None
        assert len(world.programs.made) == 1

    tell(story)


def test_a_lost_answer_of_a_runtime_without_keys_binds_the_claim_anew_and_says_so() -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.weather.destine(PROVISION, Fate.UNANSWERED)
        world.create_claim("mine")
        claim = await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert claim.status.attempts == 1
        assert "Rebinding" in {event.reason for _, event in world.server.events}
        assert len(world.programs.made) == 2
        assert sum(bool(machine.conversations) for machine in world.machines.running.values()) == 1

    tell(story, habits=WITHOUT_KEYS)
