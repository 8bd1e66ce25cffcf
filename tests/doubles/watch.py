"""A watch on the in-memory API server, with all that a watch may do and does on a bad day."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from controller.model import KINDS, Resource
from tests.doubles.cluster import ApiServer, Change, ObjectKey


@dataclass(frozen=True, slots=True)
class WatchManners:
    """How a watch behaves: what it may do by the contract of Kubernetes, and does on a bad day."""

    delay: tuple[float, float] = (0.001, 0.005)
    duplicates: float = 0.0
    """Share of events that come twice."""


class Watch:
    """Brings a controller what happens: late, twice, objects in any order among each other, each by itself in order."""

    def __init__(
        self, server: ApiServer, deliver: Callable[[Resource, bool], None], random: Random, manners: WatchManners
    ) -> None:
        self._server = server
        self._deliver = deliver
        self._random = random
        self.manners = manners
        self._due: dict[tuple[type[Resource], ObjectKey], float] = {}
        self._held_until = 0.0
        self._open = False
        self._deaf = False

    def open(self) -> None:
        """Begin as an informer does: with everything there is."""
        self._open = True
        self._server.observers.append(self._take)
        self._relist()

    def close(self) -> None:
        """Nothing arrives any more, also of what is under way."""
        if self._open:
            self._open = False
            self._server.observers.remove(self._take)

    def pause(self, seconds: float) -> None:
        """Nothing arrives for so long; then all of it."""
        self._held_until = asyncio.get_running_loop().time() + seconds

    def lose(self, seconds: float) -> None:
        """The connection is gone for so long. What happens meanwhile is never told; then everything is listed anew."""
        self._deaf = True
        asyncio.get_running_loop().call_later(seconds, self._reconnect)

    def mend(self) -> None:
        """Be punctual from now on."""
        self._held_until = 0.0
        self.manners = WatchManners()

    def _reconnect(self) -> None:
        if self._deaf:
            self._deaf = False
            self._relist()

    def _relist(self) -> None:
        for kind in KINDS:
            for thing in self._server.list(kind):
                self._take(Change("ADDED", None, thing, ""))

    def _take(self, change: Change) -> None:
        if self._deaf:
            return
        self._schedule(change)
        if self._random.random() < self.manners.duplicates:
            self._schedule(replace(change))

    def _schedule(self, change: Change) -> None:
        loop, place = asyncio.get_running_loop(), (type(change.thing), change.thing.key)
        soonest = max(loop.time(), self._held_until) + self._random.uniform(*self.manners.delay)
        due = self._due[place] = max(soonest, self._due.get(place, 0.0) + 1e-5)
        loop.call_at(due, self._arrive, change)

    def _arrive(self, change: Change) -> None:
        if self._open and change.thing.metadata.uid not in self._server.misfits:
            self._deliver(change.thing, change.type == "DELETED")
