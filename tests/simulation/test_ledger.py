"""The ledger goes away and comes back while users, machines and controllers do as they do."""

import asyncio
from random import Random

import pytest

from controller.model import LEDGER_FINALIZER, AgentClaim, AgentInstance, AgentPool, ClaimPhase
from tests.doubles.backend import Machine
from tests.doubles.cluster import Change
from tests.simulation.world import World, tell


async def warm(world: World, idle: int = 1, total: int = 2) -> None:
    world.create_pool(minIdle=idle, maxTotal=total)
    world.start()
    await world.until_warm(idle)


def test_what_is_deleted_while_the_ledger_is_away_goes_once_its_last_record_is_safe() -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.create_claim("mine")
        bound = await world.until_phase("mine", ClaimPhase.BOUND)
        assert LEDGER_FINALIZER in bound.metadata.finalizers
        holder = world.server.read(AgentInstance, "default", bound.status.instance or "")
        world.ledger.go_away()
        world.delete(AgentClaim, "mine")
        await world.until(lambda: holder.metadata.uid not in world.machines.running, "its machine is gone")
        await asyncio.sleep(30)
        assert world.claim("mine").metadata.deleting
        assert world.server.by_uid(AgentInstance, holder.metadata.uid) is not None
        # What costs nothing any more does not keep others from being launched: maxTotal is 2.
        world.create_claim("next")
        await world.until_phase("next", ClaimPhase.BOUND)
        await world.until_warm(1)
        world.ledger.come_back()
        await world.until(lambda: world.server.by_uid(AgentInstance, holder.metadata.uid) is None, "it goes")
        told = [what for uid, what, _ in world.ledger.rows if uid == bound.metadata.uid]
        assert told == ["Created", "Bound", "Released", "Gone"]
        await world.rest()

    tell(story, ledger="lax")


def test_a_strict_one_that_is_away_keeps_claims_waiting_and_nobody_is_asked_for_anything() -> None:
    async def story(world: World) -> None:
        await warm(world)
        world.ledger.go_away()
        await asyncio.sleep(2)
        world.create_claim("mine")
        await asyncio.sleep(30)
        assert world.holder("mine") is None
        assert "the ledger is strict" in (world.claim("mine").status.message or "")
        world.ledger.come_back()
        await world.until_phase("mine", ClaimPhase.BOUND, within=5)
        await world.rest()

    tell(story, ledger="strict")


def test_with_a_strict_one_the_binding_is_on_record_before_the_instance_is_asked() -> None:
    async def story(world: World) -> None:
        asked: list[bool] = []

        def given(machine: Machine, key: str) -> None:
            asked.append((machine.uid, "Bound", "") in world.ledger.rows and (key, "Created", "") in world.ledger.rows)

        world.programs.observers.append(given)
        await warm(world, 2, 4)
        world.ledger.go_away(quietly=True)
        world.create_claim("mine")
        await world.until(lambda: world.holder("mine") is not None, "it has an instance")
        await asyncio.sleep(10)
        assert asked == []
        world.ledger.come_back()
        await world.until_phase("mine", ClaimPhase.BOUND, within=5)
        assert asked == [True]
        await world.rest()

    tell(story, ledger="strict")


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_end_is_recorded_after_everything_else_and_once(seed: int) -> None:
    async def story(world: World) -> None:
        lived: dict[str, str] = {}

        def seen(change: Change) -> None:
            if isinstance(change.thing, AgentInstance | AgentClaim):
                lived[change.thing.metadata.uid] = change.thing.metadata.name

        world.server.observers.append(seen)
        random = Random(f"ledger {seed}")
        await warm(world, 2, 5)
        for number in range(12):
            if world.ledger.health is None and random.random() < 0.4:
                world.ledger.go_away()
            elif random.random() < 0.5:
                world.ledger.come_back()
            world.create_claim(f"c{number}")
            await asyncio.sleep(random.uniform(0.0, 3.0))
            kept = [each for each in world.server.list(AgentClaim) if not each.metadata.deleting]
            if kept and random.random() < 0.6:
                world.delete(AgentClaim, random.choice(kept).metadata.name)
            if random.random() < 0.25:
                await world.restart(after=random.uniform(0.0, 2.0))
        world.ledger.come_back()
        for claim in world.server.list(AgentClaim):
            world.delete(AgentClaim, claim.metadata.name)
        for pool in world.server.list(AgentPool):
            world.delete(AgentPool, pool.metadata.name)
        await world.rest()
        assert not world.server.list(AgentInstance)
        assert not world.server.list(AgentClaim)
        for uid, name in lived.items():
            told = [what for other, what, _ in world.ledger.rows if other == uid]
            assert told[-1:] == ["Gone"], (name, told)
            assert told[0] == "Created", (name, told)

    tell(story, seed, ledger="lax")
