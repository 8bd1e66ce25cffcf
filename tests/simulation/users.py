"""People who do as they please, and a world in which things break; both drawn from the seed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random

from controller.model import AgentClaim, AgentInstance, AgentPool
from controller.ports import LaunchOrder
from tests.doubles.backend import Habits
from tests.doubles.cluster import WatchManners
from tests.doubles.inmemory_runtime import UNWANTED
from tests.simulation.weather import Climate
from tests.simulation.world import NAMESPACE, Broken, World, quietly, tell

POOLS = ("alpha", "beta", "gamma")


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

    return Habits(
        boot=(0.2, random.choice((1.0, 5.0))),
        stop=(0.05, random.choice((0.5, 8.0))),
        hint_delay=(0.005, 0.5),
        hints_lost=random.choice((0.0, 0.3)),
        keys=keys,
        refused=refused,
    )


class Users:
    """Creates, changes and deletes whatever users may."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._number = 0

    def begin(self) -> None:
        """The pools that are there from the beginning."""
        for name in POOLS[: self._random.randint(1, 3)]:
            self._create_pool(name)

    def act(self) -> None:
        """Do one thing."""
        actions: list[tuple[Callable[[], object], int]] = [
            (self._claim, 12),
            (self._burst, 1),
            (self._delete_claim, 7),
            (self._scale, 3),
            (self._change_template, 1),
            (self._pause, 1),
            (self._create_pool_again, 2),
            (self._delete_pool, 1),
            (self._delete_instance, 1),
            (self._bring_instructions, 1),
        ]
        weights = [weight for _, weight in actions]
        self._random.choices([action for action, _ in actions], weights)[0]()

    def clean(self) -> None:
        """Mend what users broke, so that the world can come to rest."""
        self._bring_instructions()
        for pool in self._world.server.list(AgentPool):
            if pool.spec.template.env and pool.spec.template.env[0].name == "BROKEN":
                self._world.change_pool(pool.metadata.name, template={"env": None})

    def _create_pool(self, name: str) -> None:
        random = self._random
        self._world.create_pool(
            name,
            minIdle=random.randint(0, 4),
            maxTotal=random.randint(4, 12),
            startup={"deadlineSeconds": 30},
            health={"intervalSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 2},
            claims={
                "whenEmpty": random.choice(("Queue", "Queue", "Queue", "Fail")),
                "provisionTimeoutSeconds": random.choice((3, 10)),
                **random.choice(({}, {}, {"bindTimeoutSeconds": 30}, {"defaultLifetimeSeconds": 40})),
            },
            rollout=random.choice(
                ({}, {"maxSurge": 2}, {"maxSurge": 0, "maxUnavailable": 1}, {"strategy": "OnDelete"})
            ),
            circuitBreaker={"failures": 3, "openSeconds": 15},
        )

    def _create_pool_again(self) -> None:
        missing = [name for name in POOLS if self._world.server.find(AgentPool, name) is None]
        if missing:
            self._create_pool(self._random.choice(missing))

    def _claim(self) -> None:
        self._number += 1
        random, name = self._random, f"claim-{self._number:03}"
        wishes = random.choice(
            (
                {},
                {},
                {"priority": random.randint(-2, 5)},
                {"lifetimeSeconds": random.randint(1, 40)},
                {"joinUrl": "https://example.org/join"},
                {"joinUrl": "https://example.org/wait"},
                {"bindTimeoutSeconds": random.randint(1, 30)},
                {"instructionsFrom": {"configMapKeyRef": {"name": "prompts", "key": "short"}}},
                {"agentName": UNWANTED if random.random() < 0.3 else "Ada"},
            )
        )
        self._world.create_claim(name, random.choice(POOLS), **wishes)

    def _burst(self) -> None:
        for _ in range(self._random.randint(2, 12)):
            self._claim()

    def _delete_claim(self) -> None:
        claims = self._world.server.list(AgentClaim)
        if claims:
            self._world.delete(AgentClaim, self._random.choice(claims).metadata.name)

    def _pool(self) -> AgentPool | None:
        pools = self._world.server.list(AgentPool)
        return self._random.choice(pools) if pools else None

    def _scale(self) -> None:
        if pool := self._pool():
            change = self._random.choice(
                ({"minIdle": self._random.randint(0, 6)}, {"maxTotal": self._random.randint(3, 14)})
            )
            quietly(self._world.change_pool, pool.metadata.name, **change)

    def _change_template(self) -> None:
        if pool := self._pool():
            name = "BROKEN" if self._random.random() < 0.2 else "VERSION"
            env = [{"name": name, "value": str(self._random.randint(1, 5))}]
            self._world.change_pool(pool.metadata.name, template={"env": env})

    def _pause(self) -> None:
        if pool := self._pool():
            self._world.change_pool(pool.metadata.name, paused=self._random.random() < 0.4)

    def _delete_pool(self) -> None:
        if pool := self._pool():
            self._world.delete(AgentPool, pool.metadata.name)

    def _delete_instance(self) -> None:
        instances = self._world.server.list(AgentInstance)
        if instances:
            self._world.delete(AgentInstance, self._random.choice(instances).metadata.name)

    def _bring_instructions(self) -> None:
        self._world.server.config_maps[NAMESPACE, "prompts"] = {"short": "Be brief."}


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
