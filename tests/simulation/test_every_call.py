"""The controller is killed at every single request of one claim's life, from the pool's creation to the claim's end."""

import asyncio

import pytest

from controller.model import AgentClaim, ClaimPhase
from tests.doubles.backend import Habits
from tests.simulation.process import When
from tests.simulation.world import World, tell


async def life(world: World, keys: bool) -> None:
    """One claim from its pool's creation until it is given back."""
    claim = world.create_claim("mine")
    claim = await world.until_phase("mine", ClaimPhase.BOUND)
    status = claim.status
    await asyncio.sleep(1.0)
    assert (world.claim("mine").status.instance, world.claim("mine").status.conversation_id) == (
        status.instance,
        status.conversation_id,
    )
    assert len(world.programs.made) == 1 or not keys
    world.delete(AgentClaim, "mine")
    await asyncio.sleep(4.0)


def killed_at(call: int | None, when: When, keys: bool) -> int:
    """The life with a death at that request; how many requests it takes without."""
    calls = 0

    async def story(world: World) -> None:
        nonlocal calls
        world.create_pool(minIdle=1, maxTotal=4, claims={"provisionTimeoutSeconds": 5})
        first = world.start()
        if call is not None:
            world.doom(call, when)

        async def succeed() -> None:
            await first.died.wait()
            await first.buried()
            await asyncio.sleep(0.2)
            world.start()

        successor = asyncio.create_task(succeed())
        try:
            await life(world, keys)
            calls = first.calls
            await world.rest(quiet=20.0)
        finally:
            successor.cancel()
            await asyncio.wait({successor})
        assert not first.alive or call is None
        assert sum(bool(machine.conversations) for machine in world.machines.running.values()) == 0

    tell(story, habits=Habits(keys=lambda _: keys))
    return calls


@pytest.mark.parametrize("keys", [True, False], ids=["with keys", "without keys"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_death_at_any_request_of_a_claims_life_leaves_nothing_behind(when: When, keys: bool) -> None:
    calls = killed_at(None, when, keys)
    assert calls > 20
    for call in range(1, calls + 1):
        try:
            killed_at(call, when, keys)
        except AssertionError as error:
            raise AssertionError(f"death {when} request {call} of {calls}: {error}") from error
