"""The backend itself: launch, name, end, list and follow instances that are services of one environment."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from controller.backends.locks import Locks
from controller.backends.railway.api import EnvironmentApi
from controller.backends.railway.endings import Endings
from controller.backends.railway.failures import Rejected, Unanswered, sort
from controller.backends.railway.launches import Launches, Sleep
from controller.backends.railway.names import Names
from controller.backends.railway.output import read_output
from controller.backends.railway.picture import Picture
from controller.backends.railway.services import Service
from controller.backends.works import Works
from controller.errors import AgentpoolError, Conflict, Missing, Refused
from controller.ports import LaunchOrder, Pace, Remote, RemoteState

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

HINT_SECONDS = 1.0
"""Readings that webhooks bring about are at least so far apart."""


class RailwayBackend:
    """Instances as services of one environment, known by name and labels and addressed by their ids.

    Railway holds all there is to know; nothing is kept on the operator's own disk. One reading of the environment, for
    any number of instances, serves everybody who wants to know something.
    """

    def __init__(
        self,
        api: EnvironmentApi,
        picture: Picture,
        names: Names,
        *,
        installation: str,
        pace: Pace,
        clock: Callable[[], float],
        sleep: Sleep,
        closed: Callable[[], None],
    ) -> None:
        self._api = api
        self._picture = picture
        self._names = names
        self._pace = pace
        self._sleep = sleep
        self._on_close = closed
        self._locks = Locks()
        self._launches = Launches(api, picture, names, installation, self._locks, sleep)
        self._endings = Endings(api, picture, names, self._locks, clock)
        self._told: dict[str, Remote] = {}
        self._changes: dict[str, Remote] = {}
        self._woken = asyncio.Event()
        self._hinted = False
        self._works = Works("railway")
        self._closed = False
        picture.changed = self._compare

    @property
    def pace(self) -> Pace:
        """What the plan's limits allow."""
        return self._pace

    async def launch(self, order: LaunchOrder) -> Remote:
        """Make the service, or go on making it, or find it made."""
        remote = await self._works.carry_through(self._launches.launch(order))
        self._told[remote.uid] = remote
        return remote

    async def terminate(self, uid: str, *, grace: float) -> bool:
        """Delete the service. How long its program is given was said at its launch, and is for Railway to keep."""
        self._launches.abandon(uid)
        gone = await self._works.carry_through(self._endings.end(uid, self._pace.fast))
        if gone:
            self._launches.forget(uid)
            self._told.pop(uid, None)
            self._changes.pop(uid, None)
        return gone

    async def pause(self, uid: str) -> Remote:
        """Railway freezes nothing."""
        await self._find(uid)
        raise Refused(
            "CannotPause",
            "the railway backend cannot pause instances: set warmStrategy to Running, or sleepApplication",
        )

    async def resume(self, uid: str) -> Remote:
        """It was never frozen."""
        await self._find(uid)
        return self._remote(uid)

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        """Name it after its agent, as far as 32 characters go."""
        return await self._works.carry_through(self._rename(uid, agent_name))

    async def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        """What Railway has kept of its output: the last 5,000 lines at most."""
        service = await self._find(uid)
        if service.deployment_id is None:
            raise Missing(f"service {service.name} of instance {uid} was not deployed yet, so it has written nothing")

        async def goes_on() -> bool:
            await self._picture.refresh()
            remote = self._picture.remote(uid)
            return remote is not None and remote.state is not RemoteState.EXITED

        lines = read_output(
            self._api, service.deployment_id, tail=tail, follow=goes_on if follow else None, sleep=self._sleep
        )
        async for line in lines:
            yield line

    async def list(self) -> Sequence[Remote]:
        """Every instance with a service, or with a volume that should have gone with it."""
        await self._picture.refresh()
        remotes = self._picture.remotes()
        self._told = dict(remotes)
        return tuple(remotes.values())

    async def changes(self) -> AsyncIterator[Remote]:
        """What readings show that others asked for, and what webhooks hint at."""
        while not self._closed:
            if self._changes:
                yield self._changes.pop(next(iter(self._changes)))
            elif self._hinted:
                self._hinted = False
                await self._read_for_a_hint()
            else:
                self._woken.clear()
                await self._woken.wait()

    def hinted(self) -> None:
        """Something happened in the environment: look soon."""
        self._hinted = True
        self._woken.set()

    async def close(self) -> None:
        """Stop; the services run on. A step under way has a moment to be over."""
        self._closed = True
        self._woken.set()
        self._on_close()
        await self._works.close()
        await self._picture.close()

    async def _read_for_a_hint(self) -> None:
        try:
            await self._picture.refresh()
        except AgentpoolError as error:
            log.info("what a webhook hinted at is not known yet: %s", error)
        await self._sleep(HINT_SECONDS)

    def _compare(self) -> None:
        """Whatever a reading shows that nobody was told yet is a change."""
        found = self._picture.remotes()
        for uid, remote in found.items():
            if self._told.get(uid) != remote:
                self._changes[uid] = self._told[uid] = remote
        for uid in self._told.keys() - found.keys():
            gone = self._told.pop(uid)
            message, namespace = "it exists at Railway no more", gone.namespace
            self._changes[uid] = Remote(uid, gone.backend_id, RemoteState.EXITED, None, message, namespace=namespace)
        if self._changes:
            self._woken.set()

    async def _rename(self, uid: str, agent_name: str) -> Remote:
        async with self._locks(uid):
            service = await self._find(uid)
            name = self._names.claimed_name(agent_name, uid)
            if service.name != name:
                try:
                    await self._api.rename_service(service.id, name)
                except Unanswered:
                    await self._picture.refresh()
                    service = await self._find(uid)
                    if service.name != name:
                        raise
                except Rejected as error:
                    meaning = sort(error, "rename the service")
                    if isinstance(meaning, Conflict):
                        raise Refused("NameTaken", str(meaning)) from None
                    raise meaning from None
                self._picture.learn(service, name=name)
            remote = self._remote(uid)
            self._told[uid] = remote
            return remote

    async def _find(self, uid: str) -> Service:
        self._picture.expect(uid)
        if not self._picture.services_of(uid):
            await self._picture.refresh()
        services = self._picture.services_of(uid)
        if not services:
            raise Missing(f"Railway has no service of instance {uid} in this environment")
        return services[0]

    def _remote(self, uid: str) -> Remote:
        remote = self._picture.remote(uid)
        if remote is None:
            raise Missing(f"Railway has no service of instance {uid} in this environment any more")
        return remote
