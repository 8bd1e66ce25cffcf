"""The leader is stopped right before any single request of a claim's life, another one leads, and then it goes on.

What it was about to send is sent then, long after its time: nothing is doubled by it, and nothing lost.
"""

import asyncio

import pytest

from controller.model import AgentClaim, ClaimPhase
from tests.doubles.backend import Habits
from tests.simulation.world import World, tell


async def life(world: World) -> None:
    """Two claims from their pool's creation until one of them is given back."""
    for name in ("mine", "yours"):
        world.create_claim(name)
    promised = {name: (await world.until_phase(name, ClaimPhase.BOUND)).status for name in ("mine", "yours")}
    await asyncio.sleep(25.0)
    for name, status in promised.items():
        now = world.claim(name).status
        assert (now.phase, now.instance, now.conversation_id) == (
            ClaimPhase.BOUND,
            status.instance,
            status.conversation_id,
        )
    world.delete(AgentClaim, "mine")
    await asyncio.sleep(4.0)


def stopped_at(call: int | None, keys: bool, goes_on_after: float = 15.0) -> int:
    """The life with a stop before that request; how many requests it takes without."""
    calls = 0

    async def story(world: World) -> None:
        nonlocal calls
        world.create_pool(minIdle=1, maxTotal=6, claims={"provisionTimeoutSeconds": 5})
        first = world.start()
        if call is not None:
            world.doom(call, "frozen")

        async def succeed() -> None:
            await first.frozen.wait()
            await asyncio.sleep(8.0)
            world.start()
            await asyncio.sleep(goes_on_after - 8.0)
            first.thaw()
            await asyncio.sleep(1.0)
            first.die("since it leads no more")

        successor = asyncio.create_task(succeed())
        try:
            await life(world)
            calls = first.calls
            await world.rest(quiet=20.0)
            assert world.invariants.doubles == world.invariants.stolen == 0
            assert first.frozen.is_set() or call is None
        finally:
            successor.cancel()
            await asyncio.wait({successor})

    tell(story, habits=Habits(keys=lambda _: keys))
    return calls


@pytest.mark.parametrize("goes_on_after", [8.1, 15.0], ids=["as soon as another leads", "long after"])
@pytest.mark.parametrize("keys", [True, False], ids=["with keys", "without keys"])
def test_a_leader_that_is_stopped_before_any_request_and_goes_on_doubles_nothing(
    keys: bool, goes_on_after: float
) -> None:
    calls = stopped_at(None, keys)
    assert calls > 30
    for call in range(1, calls + 1):
        try:
            stopped_at(call, keys, goes_on_after)
        except AssertionError as error:
            raise AssertionError(f"stopped before request {call} of {calls}: {error}") from error
