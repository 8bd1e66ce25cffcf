from controller.model import ClaimPhase
from tests.simulation.world import World, tell


def test_one_claim() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=2)
        world.start()
        await world.until_warm(2)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.rest()

    world = tell(story)
    print("\n".join(world.trace))
    print(world.server.count_writes("controller-0"))
