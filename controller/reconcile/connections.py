"""Connections: one picture per place, from when somebody is there until long after the last one has left."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from controller import metrics
from controller.model import AgentInstance, AgentPool, Resource
from controller.ports import Backend, FixedPlace, Place, Provider
from controller.reconcile.places import Places
from controller.reconcile.remotes import RETRY_SECONDS, News, Remotes
from controller.reconcile.secrets import Secrets
from controller.reconcile.view import View

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""How often it is looked which places are used."""
UNUSED_SECONDS = 600.0
"""A place that nobody has used for so long is closed, unless it has something left that is to be ended."""
UNREADABLE_SECONDS = 3600.0
"""One that cannot be read either is closed after this: its token may have gone with its last pool."""


class Connections:
    """Opens places, keeps their pictures, and closes them.

    A backend that finds its place by itself is there from the start, and is listed before the controller works. The
    others are reached over a network: each is opened when something is there, and nobody waits for it but its own.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        secrets: Secrets,
        places: Places,
        view: View,
        news: News,
        clock: Callable[[], datetime],
    ) -> None:
        self._providers = providers
        self._secrets = secrets
        self._places = places
        self._view = view
        self._news = news
        self._clock = clock
        self._remotes: dict[str, Remotes] = {}
        self._fixed: set[str] = set()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._unused_since: dict[str, datetime] = {}
        self._tasks: asyncio.TaskGroup | None = None
        for name, provider in providers.items():
            if isinstance(provider, FixedPlace):
                self._fixed.add(name)
                self._add(name, provider.backend)
        view.subscribe(self._view_changed)

    def __iter__(self) -> Iterator[Remotes]:
        return iter(tuple(self._remotes.values()))

    def named(self, place: str) -> Remotes | None:
        """The picture of a place, if it is open."""
        return self._remotes.get(place)

    def of(self, thing: AgentPool | AgentInstance) -> Remotes | None:
        """The picture of the place where a pool or an instance is; ``None``: this operator lacks that backend."""
        name = self._places.of(thing)
        return self._remotes.get(name) or self._open(name, thing)

    async def start(self) -> None:
        """List the places that are there from the start."""
        for name in sorted(self._fixed):
            await self._remotes[name].list_once()

    async def run(self) -> None:
        """Follow all places, now and later, until cancelled; then close those that were opened here."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for remotes in self:
                    self._begin_to_follow(remotes, tasks)
                for thing in self._places.users():
                    self.of(thing)
                try:
                    await self._close_for_ever()
                finally:
                    self._tasks = None
        finally:
            for name in self._remotes.keys() - self._fixed:
                await self._close(self._remotes.pop(name))

    def _open(self, name: str, thing: AgentPool | AgentInstance) -> Remotes | None:
        spec, namespace = self._places.way(thing), thing.metadata.namespace
        provider = self._providers.get(spec.name)
        if provider is None:
            return None
        remotes = self._add(name, provider.connect(Place(name, spec, self._secrets.of(namespace))))
        log.info("place %s is opened", name)
        if self._tasks is not None:
            self._begin_to_follow(remotes, self._tasks)
        return remotes

    def _add(self, name: str, backend: Backend) -> Remotes:
        self._remotes[name] = remotes = Remotes(name, backend, self._news, self._clock)
        return remotes

    def _begin_to_follow(self, remotes: Remotes, tasks: asyncio.TaskGroup) -> None:
        self._followers[remotes.name] = tasks.create_task(self._follow(remotes), name=f"place {remotes.name}")

    async def _follow(self, remotes: Remotes) -> None:
        while True:
            try:
                await remotes.run()
            except Exception:
                # A mistake of ours, or of a vendor's, at one place must not end the others.
                log.exception("place %s: following it failed in a way that was not foreseen", remotes.name)
                remotes.broke()
                if self._tasks is None or self._remotes.get(remotes.name) is not remotes:
                    return  # it broke while it was being closed
            await asyncio.sleep(RETRY_SECONDS)

    def _view_changed(self, before: Resource | None, after: Resource | None) -> None:
        """With its way in, a pool takes along what it has launched, maybe just now, to a place listed before that."""
        if not isinstance(before, AgentPool) or not isinstance(after, AgentPool):
            return
        if before.metadata.generation == after.metadata.generation:
            return
        if self._places.of(before) != self._places.of(after):
            for name in self._remotes.keys() - self._fixed:
                self._remotes[name].distrust()

    async def _close_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for name in sorted(self._remotes.keys() - self._fixed):
                if not self._is_over(self._remotes[name]):
                    continue
                # Taken out first: who comes from now on gets a new one.
                remotes, follower = self._remotes.pop(name), self._followers.pop(name)
                follower.cancel()
                try:
                    await asyncio.wait({follower})
                finally:
                    await self._close(remotes)
                self._news.listed(name)
                log.info("place %s is closed: nobody has used it for long", name)

    def _is_over(self, remotes: Remotes) -> bool:
        if self._news.in_use(remotes.name):
            self._unused_since.pop(remotes.name, None)
            return False
        unused = (self._clock() - self._unused_since.setdefault(remotes.name, self._clock())).total_seconds()
        if not remotes.readable or not remotes.listed:
            return unused >= UNREADABLE_SECONDS
        # What has an owner is that of another place: the same environment, entered in another way.
        left = any(uid not in self._view.instance_by_uid for uid in remotes.uids())
        return unused >= UNUSED_SECONDS and not left

    async def _close(self, remotes: Remotes) -> None:
        self._unused_since.pop(remotes.name, None)
        try:
            await remotes.backend.close()
        except Exception:
            log.exception("place %s: closing it failed in a way that was not foreseen", remotes.name)
        metrics.forget_place(remotes.name)
