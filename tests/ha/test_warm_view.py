"""What a standby has followed is what it begins with; and nothing that it missed is lost on it."""

import asyncio
from random import Random

from controller.model import AgentClaim, ClaimPhase, InstancePhase
from controller.ports import FixedPlace
from controller.reconcile.loop import Controller, Ports, Tuning
from controller.reconcile.relist import Relist
from controller.reconcile.view import View
from tests.doubles import virtualtime
from tests.doubles.backend import MemoryBackend
from tests.doubles.cluster import MemoryCluster
from tests.doubles.inmemory_runtime import MemoryRuntime
from tests.doubles.watch import Watch, WatchManners
from tests.doubles.wire import Direct
from tests.simulation.world import World, tell


class Standby:
    """A view that follows its watch, and the controller that takes it over."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.view = View()
        self.cluster = MemoryCluster(world.server, Direct(), "controller-standby")
        self.watch = Watch(world.server, self._deliver, Random(1), WatchManners())
        self._task: asyncio.Task[None] | None = None

    def _deliver(self, thing: object, deleted: bool) -> None:
        (self.view.forget if deleted else self.view.learn)(thing)  # type: ignore[arg-type]

    async def stand_by(self) -> None:
        await Relist(self.cluster, self.view, 600.0).fill()
        self.watch.open()

    async def lead(self) -> None:
        ports = Ports(
            cluster=self.cluster,
            runtime=MemoryRuntime(self._world.programs, Direct()),
            backends={"process": FixedPlace(MemoryBackend(self._world.machines, Direct()))},
            clock=virtualtime.now,
            random=Random(2),
        )
        controller = Controller(ports, Tuning(60.0, 20.0), self.view)
        await controller.fill()
        self._task = asyncio.get_running_loop().create_task(controller.run())

    async def end(self) -> None:
        self.watch.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


def test_a_standby_that_becomes_leader_goes_on_with_everything_it_has_followed() -> None:
    async def story(world: World) -> None:
        standby = Standby(world)
        world.create_pool(minIdle=2, maxTotal=6)
        world.start()
        await standby.stand_by()
        await world.until_warm(2)
        world.create_claim("before")
        await world.until_phase("before", ClaimPhase.BOUND)
        world.process.die()
        world.create_claim("between")
        await asyncio.sleep(1.0)
        assert world.claim("between").status.phase is None
        await standby.lead()
        await world.until_phase("between", ClaimPhase.BOUND)
        world.delete(AgentClaim, "before")
        await world.rest()
        await standby.end()

    tell(story)


def test_a_standby_whose_watch_fell_silent_still_begins_with_what_is_true() -> None:
    async def story(world: World) -> None:
        standby = Standby(world)
        world.create_pool(minIdle=2, maxTotal=6)
        world.start()
        await world.until_warm(2)
        world.create_claim("given")
        await world.until_phase("given", ClaimPhase.BOUND)
        await standby.stand_by()
        await asyncio.sleep(1.0)
        standby.watch.lose(3600.0)
        held = world.holder("given")
        assert held is not None
        world.delete(AgentClaim, "given")
        await world.until(lambda: world.server.find(type(held), held.metadata.name) is None, "it is given back")
        world.create_claim("new")
        await world.until_phase("new", ClaimPhase.BOUND)
        assert held.metadata.uid in standby.view.instance_by_uid
        world.process.die()
        await standby.lead()
        assert held.metadata.uid not in standby.view.instance_by_uid
        assert len(standby.view.claims) == 1
        await asyncio.sleep(30.0)
        assert len(world.instances(InstancePhase.CLAIMED)) == 1
        assert len(world.programs.made) == 2
        await standby.end()

    tell(story)


def test_a_standby_at_rest_writes_nothing_when_it_becomes_leader() -> None:
    async def story(world: World) -> None:
        standby = Standby(world)
        world.create_pool(minIdle=2, maxTotal=6)
        world.start()
        await standby.stand_by()
        await world.until_warm(2)
        await world.rest()
        world.process.die()
        await standby.lead()
        await asyncio.sleep(30.0)
        assert world.server.count_writes("controller-standby").total() == 0
        await standby.end()

    tell(story)
