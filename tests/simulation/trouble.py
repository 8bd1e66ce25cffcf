"""What breaks: machines, watches, services and controllers, drawn from the seed."""

import asyncio
from collections.abc import Callable
from random import Random

from controller.ports import LaunchOrder
from tests.doubles.backend import Habits
from tests.doubles.watch import WatchManners
from tests.simulation.weather import Climate
from tests.simulation.world import World


def climate(random: Random) -> Climate:
    """Between an almost fair day and a bad one."""
    badness = random.choice((0.0, 0.3, 1.0, 2.0))
    return Climate(
        lost=0.02 * badness,
        unanswered=0.02 * badness,
        late=0.005 * badness,
        conflict=0.01 * badness,
        latency=random.choice(((0.0005, 0.003), (0.001, 0.05), (0.01, 0.2))),
        slow=0.02 * badness,
    )


def manners(random: Random) -> WatchManners:
    """Between a punctual watch and a late one."""
    return WatchManners(delay=(0.001, random.choice((0.005, 0.1, 1.5))), duplicates=random.choice((0.0, 0.1)))


def habits(random: Random) -> Habits:
    """Machines of all kinds."""
    without_keys = random.random() < 0.3

    def keys(order: LaunchOrder) -> bool:
        return not (without_keys and order.pool == "beta")

    def refused(order: LaunchOrder) -> bool:
        return any(variable.name == "BROKEN" for variable in order.template.env)

    build = random.choice((0.0, 0.0, 4.0))
    return Habits(
        build=(0.0, build),
        deploy=(0.0, build / 2),
        boot=(0.2, random.choice((1.0, 5.0))),
        stop=(0.05, random.choice((0.5, 8.0))),
        hint_delay=(0.005, 0.5),
        hints_lost=random.choice((0.0, 0.3)),
        keys=keys,
        refused=refused,
    )


class Trouble:
    """Breaks machines, watches, services and controllers."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random

    async def run(self) -> None:
        """Break one thing after the other until cancelled."""
        actions: list[tuple[Callable[[], object], int]] = [
            (self._crash, 4),
            (self._hang, 3),
            (self._accept, 8),
            (self._pause_watch, 2),
            (self._lose_watch, 1),
            (self._take_down, 2),
        ]
        weights = [weight for _, weight in actions]
        while True:
            await asyncio.sleep(self._random.expovariate(0.5))
            self._random.choices([action for action, _ in actions], weights)[0]()

    async def kill(self) -> None:
        """Kill controllers until cancelled; another one follows each, sometimes before the old one is dead."""
        random, world = self._random, self._world
        while True:
            await asyncio.sleep(random.expovariate(0.08))
            old = world.process
            if random.random() < 0.25:
                world.start()
                await asyncio.sleep(random.uniform(0.1, 10.0))
                old.die()
                await old.buried()
                continue
            world.doom(random.randint(1, 60), random.choice(("before", "after")))
            try:
                async with asyncio.timeout(10.0):
                    await old.died.wait()
            except TimeoutError:
                old.die()
            await old.buried()
            await asyncio.sleep(random.uniform(0.0, 5.0))
            world.start()

    def _machine_do(self, what: str) -> None:
        machines = sorted(self._world.machines.running.values(), key=lambda machine: machine.uid)
        if machines:
            machine = self._random.choice(machines)
            if what == "crash":
                self._world.record(f"machine of {machine.uid} crashes")
                self._world.machines.crash(machine)
            elif what == "hang":
                seconds = self._random.choice((1.0, 5.0, 30.0))
                self._world.record(f"machine of {machine.uid} hangs for {seconds:g} s")
                machine.hung_until = asyncio.get_running_loop().time() + seconds

    def _crash(self) -> None:
        self._machine_do("crash")

    def _hang(self) -> None:
        self._machine_do("hang")

    def _accept(self) -> None:
        for machine in self._world.machines.running.values():
            machine.accepted = machine.accepted or (bool(machine.conversations) and self._random.random() < 0.5)

    def _pause_watch(self) -> None:
        self._world.process.watch.pause(self._random.uniform(0.5, 10.0))

    def _lose_watch(self) -> None:
        self._world.process.watch.lose(self._random.uniform(0.5, 10.0))

    def _take_down(self) -> None:
        service = self._random.choice(("cluster", "backend", "runtime"))
        if service not in self._world.weather.down:
            self._world.record(f"{service} is down")
            self._world.weather.down.add(service)
            asyncio.get_running_loop().call_later(
                self._random.uniform(0.5, 12.0), self._world.weather.down.discard, service
            )
