"""A story that follows from its seed: users and trouble for a while, then fair weather and rest."""

import asyncio
from dataclasses import replace
from random import Random

from tests.simulation.trouble import Trouble, climate, habits, manners
from tests.simulation.users import Users
from tests.simulation.world import Broken, World, tell


def simulate(seed: int, seconds: float) -> World:
    """The story of a seed, in the nature of that seed."""
    random = Random(f"nature {seed}")
    try:
        return tell(
            lambda world: live(world, seed, seconds),
            seed,
            climate=climate(random),
            manners=manners(random),
            habits=habits(random),
        )
    except Broken as error:
        raise AssertionError(f"seed {seed}: {error}") from error


async def live(world: World, seed: int, seconds: float) -> None:
    """A few minutes of users and trouble; then fair weather until the world is at rest."""
    random = Random(f"story {seed}")
    users, trouble = Users(world, random), Trouble(world, random)
    users.begin()
    world.start()
    chaos = [asyncio.create_task(trouble.run())]
    if random.random() < 0.8:
        chaos.append(asyncio.create_task(trouble.kill()))
    loop = asyncio.get_running_loop()
    while loop.time() < seconds:
        await asyncio.sleep(random.expovariate(1.2))
        users.act()
        world.check()
        _check_chaos(chaos)
    for task in chaos:
        task.cancel()
    await asyncio.wait(chaos)
    await _calm(world, users)
    await world.rest(within=1500.0)


def _check_chaos(chaos: list[asyncio.Task[None]]) -> None:
    for task in chaos:
        if task.done():
            task.result()


async def _calm(world: World, users: Users) -> None:
    world.weather.clear()
    users.clean()
    world.machines.habits = replace(world.machines.habits, hints_lost=0.0)
    for machine in world.machines.running.values():
        machine.hung_until = 0.0
    for process in world.processes[:-1]:
        process.die()
    world.process.doom = None
    if not world.process.alive:
        await world.process.buried()
        world.start()
    world.process.watch.mend()
    world.record("the weather clears")
