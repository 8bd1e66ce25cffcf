"""The backend itself: launch, pause, name, end, list and follow instances that are containers."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer

from controller.backends.docker.containers import Container
from controller.backends.docker.endings import Endings
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import Unreachable, sort
from controller.backends.docker.events import Events
from controller.backends.docker.images import Images
from controller.backends.docker.inventory import Inventory
from controller.backends.docker.launches import Launches
from controller.backends.docker.names import display_names
from controller.backends.docker.output import read_output
from controller.backends.docker.watch import Watch
from controller.backends.locks import Locks
from controller.backends.works import Works
from controller.errors import AgentpoolError, Missing, Refused, Transient
from controller.ports import LaunchOrder, Pace, Remote

log = logging.getLogger(__name__)

START_SECONDS = 5.0
"""How long the start of the operator waits for the engine; without it, it goes on and the engine is found later."""


class DockerBackend:
    """Instances as containers of one engine, found by their labels and addressed by their ids.

    The engine holds all there is to know: which instance a container belongs to is in its labels, why it ended in its
    state and log. Nothing is kept on the operator's own disk. Containers outlive the operator.
    """

    def __init__(self, engine: Engine, *, installation: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._locks = Locks()
        self._inventory = Inventory(engine, installation, clock)
        self._images = Images(engine, clock)
        self._launches = Launches(engine, installation, self._inventory, self._images, self._locks)
        self._endings = Endings(engine, self._inventory, self._locks, clock, self._ended)
        self._watch = Watch(self._inventory, self._launches, self._endings)
        self._events = Events(engine, installation, self._watch.happened, self._watch.look_at_all, self._watch.lost)
        self._following: list[asyncio.Task[None]] = []
        self._works = Works("docker")

    @property
    def pace(self) -> Pace:
        """The engine's events tell at once; lists only make sure."""
        return Pace()

    async def start(self) -> None:
        """Take up what is there and follow the engine; one that is down is waited for in the background."""
        try:
            async with asyncio.timeout(START_SECONDS):
                self._watch.seed(list(await self._inventory.remotes()))
        except TimeoutError:
            log.info("the Docker engine at %s has not answered yet", self._engine.address.text)
        except AgentpoolError as error:
            # Whether anybody misses it is not known here; the controller warns when a pool does.
            log.info("%s", error)
        self._following = [asyncio.create_task(self._events.run()), asyncio.create_task(self._watch.run())]

    async def launch(self, order: LaunchOrder) -> Remote:
        """Start the container, or find it started."""
        return await self._works.carry_through(self._launch(order))

    async def terminate(self, uid: str, *, grace: float) -> bool:
        """The image's stop signal, after ``grace`` seconds SIGKILL, then removal with all that was its own."""
        self._launches.abandon(uid)
        gone = await self._endings.end(uid, grace)
        if gone:
            self._watch.gone(uid)
        return gone

    async def pause(self, uid: str) -> Remote:
        """Freeze it; one that has exited is returned as it is."""
        return await self._works.carry_through(
            self._change(uid, "running", lambda docker, each: _of(docker, each).pause())
        )

    async def resume(self, uid: str) -> Remote:
        """Let it go on; one that has exited is returned as it is."""
        return await self._works.carry_through(
            self._change(uid, "paused", lambda docker, each: _of(docker, each).unpause())
        )

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        """Name it after pool and agent, as far as the engine's letters go, with the beginning of its id."""
        return await self._works.carry_through(self._rename(uid, pool, agent_name))

    async def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        """What the engine has kept of its output. Needs no ``start``, and disturbs nobody."""
        container = await self._find(uid)
        try:
            async for chunk in read_output(self._engine, container.id, tail=tail, follow=follow):
                yield chunk
        except DockerError as answer:
            raise sort(answer) from None

    async def list(self) -> Sequence[Remote]:
        """Every instance with a container, or with a volume that should have gone with it."""
        return await self._inventory.remotes()

    def changes(self) -> AsyncIterator[Remote]:
        """Whatever the engine's events are about, from the start of the backend on; the latest of each instance.

        ``Transient`` when the engine was lost: whoever follows again gets what has changed by then.
        """
        return self._watch.changes()

    async def close(self) -> None:
        """Stop following; the containers run on."""
        for task in self._following:
            task.cancel()
        # A launch that waits for a registry is given up at once, any other has a moment.
        await self._images.close()
        await self._works.close()
        if self._following:
            await asyncio.wait(self._following)
        await self._endings.close()
        await self._engine.close()
        self._watch.close()

    async def _launch(self, order: LaunchOrder) -> Remote:
        container = await self._launches.launch(order)
        return self._watch.answered(await self._inventory.remote_of(container))

    async def _change(self, uid: str, state: str, order: Callable[[Docker, str], Awaitable[None]]) -> Remote:
        """Give an order that changes a state, if that is the state, and return what there is then."""
        async with self._locks(uid):
            container = await self._find(uid)
            if container.state == state:
                answer: AgentpoolError | None = None
                try:
                    await self._engine.call(lambda docker: order(docker, container.id))
                except DockerError as error:
                    answer = sort(error)
                except Unreachable as error:
                    answer = error
                container = await self._find(uid)
                if container.state == state and answer is not None:
                    # Neither we nor anybody else did it meanwhile.
                    raise answer if isinstance(answer, Transient) else Transient(str(answer))
            return self._watch.answered(await self._inventory.remote_of(container))

    async def _rename(self, uid: str, pool: str, agent_name: str) -> Remote:
        async with self._locks(uid):
            container = await self._find(uid)
            names = display_names(pool, agent_name, container.id)
            for name in names:
                if container.name in names or await self._named(container, name):
                    break
            else:
                raise Refused("NameTaken", f"all of the names {', '.join(names)} are taken: rename who has them")
            return self._watch.answered(await self._inventory.remote_of(await self._find(uid)))

    async def _named(self, container: Container, name: str) -> bool:
        """Whether it could be given the name; False when another container has it."""
        try:
            await self._engine.call(lambda docker: _of(docker, container.id).rename(name))
        except DockerError as answer:
            if answer.status == 409:
                return False
            raise sort(answer) from None
        return True

    async def _find(self, uid: str) -> Container:
        container = await self._inventory.find(uid)
        if container is None or not container.ran:
            raise Missing(f"the engine at {self._engine.address.text} has no container of instance {uid}")
        return container

    def _ended(self, uid: str) -> None:
        self._watch.ended(uid)


def _of(docker: Docker, container: str) -> DockerContainer:
    return docker.containers.container(container)
