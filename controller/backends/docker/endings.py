"""End containers: ask, wait, force, remove; the waiting is done in the background."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from aiodocker import DockerError

from controller.backends.docker.containers import Container
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import one_line, sort
from controller.backends.docker.inventory import Inventory
from controller.backends.locks import Locks
from controller.errors import AgentpoolError, Transient

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often an ending container is looked at when no event comes."""
KILL_SECONDS = 15.0
"""After how long a killed container that still runs is worth a complaint."""


@dataclass(slots=True)
class _Ending:
    grace: float
    asked_at: float | None = None
    killed_at: float | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Endings:
    """Instances that are to end. After a restart of the operator an end is begun anew by whoever asks again."""

    def __init__(
        self,
        engine: Engine,
        inventory: Inventory,
        locks: Locks,
        clock: Callable[[], float],
        told: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._inventory = inventory
        self._locks = locks
        self._clock = clock
        self._told = told
        self._endings: dict[str, _Ending] = {}

    async def end(self, uid: str, grace: float) -> bool:
        """Go on ending it; True once nothing is left."""
        async with self._locks(uid):
            ending = self._endings.setdefault(uid, _Ending(grace))
            ending.grace = grace
            try:
                gone = await self._press(uid, ending)
            except AgentpoolError:
                self._see_to(uid, ending)
                raise
            if gone:
                self._forget(uid)
            else:
                self._see_to(uid, ending)
            return gone

    def wake(self, uid: str) -> None:
        """Its container has died, or is gone."""
        if ending := self._endings.get(uid):
            ending.wake.set()

    async def close(self) -> None:
        """Stop pressing on; containers live on."""
        tasks = [ending.task for ending in self._endings.values() if ending.task is not None]
        self._endings.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _see_to(self, uid: str, ending: _Ending) -> None:
        if ending.task is None:
            ending.task = asyncio.create_task(self._see_through(uid, ending))
        else:
            # The grace may be another one now.
            ending.wake.set()

    def _forget(self, uid: str) -> None:
        ending = self._endings.pop(uid, None)
        if ending is not None and ending.task is not None:
            ending.wake.set()

    async def _see_through(self, uid: str, ending: _Ending) -> None:
        """Press on until it is gone, then say so."""
        complaint = ""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if complaint else self._pause(ending)):
                    await ending.wake.wait()
            ending.wake.clear()
            async with self._locks(uid):
                if self._endings.get(uid) is not ending:
                    return
                try:
                    if await self._press(uid, ending):
                        del self._endings[uid]
                        self._told(uid)
                        return
                    complaint = ""
                except AgentpoolError as error:
                    if str(error) != complaint:
                        log.warning("instance %s is not gone yet: %s", uid, error)
                    complaint = str(error)
                except Exception:
                    log.exception("instance %s cannot be ended", uid)
                    complaint = "it cannot be ended"

    def _pause(self, ending: _Ending) -> float:
        if ending.asked_at is None or ending.killed_at is not None:
            return LOOK_SECONDS
        return max(0.0, min(LOOK_SECONDS, ending.asked_at + ending.grace - self._clock()))

    async def _press(self, uid: str, ending: _Ending) -> bool:
        containers = (await self._inventory.containers(uid)).get(uid, [])
        running = [each for each in containers if each.state in {"running", "restarting", "paused"}]
        if running:
            await self._stop(running, ending)
            return False
        removed = [each.state != "removing" and await self._inventory.remove(each) for each in containers]
        if not all(removed):
            return False
        for volume in (await self._inventory.volumes(uid)).get(uid, []):
            await self._inventory.remove_volume(volume, uid)
        return True

    async def _stop(self, running: list[Container], ending: _Ending) -> None:
        """Ask once; force when the time is over, again and again: an engine that dies takes the order with it."""
        now, first = self._clock(), ending.asked_at is None
        asked_at = ending.asked_at = now if ending.asked_at is None else ending.asked_at
        overdue = now - asked_at >= ending.grace
        for container in running:
            if first:
                await self._signal(container, await self._stop_signal(container))
            if overdue:
                await self._signal(container, "SIGKILL")
            if container.state == "paused":
                # A frozen one hears nothing. Somebody else may have thawed it; the next look tells.
                await self._unpause(container)
        if not overdue:
            return
        ending.killed_at = now if ending.killed_at is None else ending.killed_at
        if now - ending.killed_at > KILL_SECONDS:
            raise Transient(
                f"container {running[0].short_id} of the instance was killed but does not end: see to the engine's "
                "host, where a process may hang in the kernel"
            )

    async def _stop_signal(self, container: Container) -> str:
        """What the image wants to be stopped by."""
        try:
            shown = await self._engine.get(f"containers/{container.id}/json")
        except DockerError as answer:
            if answer.status != 404:
                raise sort(answer) from None
            return "SIGTERM"
        return shown["Config"].get("StopSignal") or "SIGTERM"

    async def _signal(self, container: Container, signal: str) -> None:
        try:
            await self._engine.call(lambda docker: docker.containers.container(container.id).kill(signal=signal))
        except DockerError as answer:
            # It ended, or went, by itself in the meantime.
            if answer.status in {404, 409} or "is not running" in answer.message:
                return
            raise Transient(
                f"container {container.short_id} of the instance cannot be killed: {one_line(answer.message)}; see to "
                "the engine"
            ) from None

    async def _unpause(self, container: Container) -> None:
        with suppress(DockerError):
            await self._engine.call(lambda docker: docker.containers.container(container.id).unpause())
