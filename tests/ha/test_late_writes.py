"""Writes of a leader that arrive after another one has taken its place."""

import asyncio

import pytest

from controller.model import FINALIZER, AgentClaim, AgentInstance, ClaimPhase
from tests.simulation.world import NAMESPACE, World, tell


def bind_another(world: World) -> AgentInstance:
    """A binding of the claim, to another instance than the one that is the claim's, arrives late."""
    spare = next(instance for instance in world.instances() if instance.spec.claim_ref is None)
    reference = {"name": "mine", "uid": world.claim("mine").metadata.uid, "agentName": "Assistant"}
    patch = {"spec": {"claimRef": reference}}
    world.server.patch(AgentInstance, NAMESPACE, spare.metadata.name, patch, by="a leader of old")
    return spare


@pytest.mark.parametrize("seed", range(6))
def test_a_binding_that_arrives_while_its_claim_is_provisioned_elsewhere_makes_no_second_conversation(
    seed: int,
) -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=2, maxTotal=6)
        world.start()
        await world.until_warm(2)

        late: list[AgentInstance] = []
        world.weather.ambush("provision .*", lambda: late.append(bind_another(world)))
        world.create_claim("mine")
        promised = (await world.until_phase("mine", ClaimPhase.BOUND)).status
        await world.rest()
        assert len(world.programs.made) == 1
        assert world.claim("mine").status.instance == promised.instance != late[0].metadata.name
        assert late[0].metadata.name not in {instance.metadata.name for instance in world.instances()}

    def excused(world: World) -> None:
        # One claim has two instances for a moment here, by the hand of the test itself.
        world.invariants.violations.clear()

    async def lenient(world: World) -> None:
        world.server.observers.append(lambda _: excused(world))
        await story(world)

    tell(lenient, seed)


@pytest.mark.parametrize("number", range(1, 5))
def test_counts_of_a_pool_that_arrive_late_are_put_right(number: int) -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=6)
        first = world.start()
        world.doom(number, "frozen", r"patch agentpools \S+ status")
        world.create_claim("one")
        try:
            async with asyncio.timeout(30.0):
                await first.frozen.wait()
        except TimeoutError:
            return  # it counted less often
        world.start()
        world.create_claim("two")
        await world.until_phase("two", ClaimPhase.BOUND)
        world.delete(AgentClaim, "one")
        await asyncio.sleep(30.0)
        first.thaw()
        await asyncio.sleep(1.0)
        first.die("since it leads no more")
        await world.rest()

    tell(story)


@pytest.mark.parametrize("verb", ["create agentinstances .*", "launch .*"])
def test_an_instance_that_is_made_late_is_one_of_the_pool_or_goes_again(verb: str) -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=2, maxTotal=2)
        first = world.start()
        world.doom(1, "frozen", verb)
        await first.frozen.wait()
        world.start()
        await world.until_warm(2)
        first.thaw()
        await asyncio.sleep(1.0)
        first.die("since it leads no more")
        await world.rest()
        assert len(world.instances()) == len(world.machines.running) == 2
        assert max(world.machines.launches.values()) == 1

    tell(story)


def test_a_launch_that_arrives_after_its_instance_is_gone_is_ended_as_an_orphan() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=2)
        first = world.start()
        world.doom(1, "frozen", "launch .*")
        await first.frozen.wait()
        world.start()
        (only,) = world.instances()
        world.change_pool(minIdle=0)
        await world.until(lambda: world.server.find(AgentInstance, only.metadata.name) is None, "it is gone")
        first.thaw()
        await asyncio.sleep(1.0)
        first.die("since it leads no more")
        await world.rest()
        assert not world.machines.running
        assert world.machines.launches[only.metadata.uid] >= 1

    tell(story)


def test_a_finalizer_that_somebody_adds_while_ours_is_taken_off_stays() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=2)
        world.start()
        await world.until_warm(1)
        (only,) = world.instances()

        def add() -> None:
            patch = {"metadata": {"finalizers": [FINALIZER, "example.com/backup"]}}
            world.server.patch(AgentInstance, NAMESPACE, only.metadata.name, patch, by="somebody")

        world.weather.ambush(f"patch agentinstances {only.metadata.name}", add)
        world.change_pool(minIdle=0)
        await asyncio.sleep(30.0)
        left = world.server.read(AgentInstance, NAMESPACE, only.metadata.name)
        assert left.metadata.finalizers == ("example.com/backup",)
        world.server.patch(AgentInstance, NAMESPACE, only.metadata.name, {"metadata": {"finalizers": None}}, by="user")
        await world.rest()

    tell(story)


@pytest.mark.parametrize("seed", range(8))
def test_a_binding_that_arrives_before_its_leader_dies_untold_makes_no_second_conversation(seed: int) -> None:
    """Whoever leads next finds two instances that name the claim, and nobody knows which of them was asked."""

    async def story(world: World) -> None:
        world.server.observers.append(lambda _: world.invariants.violations.clear())
        world.create_pool(minIdle=2, maxTotal=6)
        world.start()
        await world.until_warm(2)

        world.weather.ambush("provision .*", lambda: bind_another(world))
        world.doom(1, "before", r"patch agentclaims mine status")
        world.create_claim("mine")
        await world.death()
        assert len(world.programs.made) == 1
        world.start()
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()
        assert len(world.programs.made) == 1
        assert len([each for each in world.instances() if each.spec.claim_ref is not None]) == 1

    tell(story, seed)
