"""What the backends say exists: one picture per backend, kept by its hints, its answers and a periodic list."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from controller import metrics
from controller.core.pool import BackendHealth
from controller.errors import AgentpoolError, Refused
from controller.ports import Backend, Remote

log = logging.getLogger(__name__)

LIST_SECONDS = 30.0
"""How often a backend is asked for all it has."""
RETRY_SECONDS = 5.0
"""How soon it is asked again after a failure."""


class Remotes:
    """The picture of one backend. After a failed read the last one stands: unknown is never taken for gone."""

    def __init__(
        self, name: str, backend: Backend, changed: Callable[[str], None], clock: Callable[[], datetime]
    ) -> None:
        self.name = name
        self.backend = backend
        self.health = BackendHealth()
        self.listed = False
        """Whether the picture is complete: only then does a missing remote not exist."""
        self._changed = changed
        self._clock = clock
        self._listing = asyncio.Lock()
        self._doubted = asyncio.Event()
        self._remotes: dict[str, Remote] = {}
        self._learned: dict[str, int] = {}
        self._sequence = 0
        self.in_use: Callable[[], bool] = lambda: True
        """Whether any pool or instance is on it: nobody misses a backend that nobody uses."""
        self.on_list: Callable[[], None] = lambda: None
        """Called after every list, and when the backend's health changes."""

    def get(self, uid: str) -> Remote | None:
        """The remote of an instance, as last heard of."""
        return self._remotes.get(uid)

    def uids(self) -> tuple[str, ...]:
        """All that exist."""
        return tuple(self._remotes)

    def learn(self, remote: Remote) -> None:
        """Take in an answer or a hint."""
        self._sequence += 1
        self._learned[remote.uid] = self._sequence
        if self._remotes.get(remote.uid) != remote:
            self._remotes[remote.uid] = remote
            self._changed(remote.uid)

    def forget(self, uid: str) -> None:
        """Nothing of it is left."""
        self._sequence += 1
        self._learned[uid] = self._sequence
        self._remotes.pop(uid, None)

    async def run(self) -> None:
        """Follow the backend until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._list_for_ever())
            tasks.create_task(self._follow_for_ever())

    async def list_once(self) -> None:
        """Ask for everything, and compare."""
        # One at a time: of two that overlap, the one that ends last may know less.
        async with self._listing:
            await self._list()

    async def _list(self) -> None:
        before = self._sequence
        try:
            found = {remote.uid: remote for remote in await self.backend.list()}
        except AgentpoolError as error:
            reason = error.reason if isinstance(error, Refused) else "BackendUnavailable"
            since = self._clock() if self.health.available else self.health.since
            self._set_health(BackendHealth(False, reason, f"backend {self.name} cannot be read: {error}", since))
            return
        # What was learned while the list was under way is newer than the list.
        newer = {uid for uid, sequence in self._learned.items() if sequence > before}
        first, self.listed = not self.listed, True
        changed = [uid for uid, remote in found.items() if uid not in newer and self._remotes.get(uid) != remote]
        gone = [uid for uid in self._remotes if uid not in found and uid not in newer]
        self._remotes.update({uid: found[uid] for uid in changed})
        for uid in gone:
            del self._remotes[uid]
        self._learned = {uid: sequence for uid, sequence in self._learned.items() if uid in newer}
        self._set_health(BackendHealth(since=self.health.since if self.health.available else self._clock()))
        for uid in sorted({*changed, *gone, *(self._remotes if first else ())}):
            self._changed(uid)
        self.on_list()

    async def _list_for_ever(self) -> None:
        while True:
            self._doubted.clear()
            await self.list_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(LIST_SECONDS if self.health.available else RETRY_SECONDS):
                    await self._doubted.wait()

    async def _follow_for_ever(self) -> None:
        while True:
            try:
                async for remote in self.backend.changes():
                    self.learn(remote)
            except AgentpoolError as error:
                level = logging.WARNING if self.in_use() else logging.INFO
                log.log(level, "backend %s stopped telling of changes, following it again: %s", self.name, error)
                # It may be gone, or have been restarted: what died of that is not to be blamed on launches.
                self.health = replace(self.health, since=self._clock())
                self._doubted.set()
            await asyncio.sleep(RETRY_SECONDS)

    def _set_health(self, health: BackendHealth) -> None:
        changed, self.health = health != self.health, health
        in_use = self.in_use()
        if health.available or in_use:
            metrics.BACKEND_AVAILABLE.labels(self.name).set(1 if health.available else 0)
        if changed:
            level = logging.INFO if health.available or not in_use else logging.WARNING
            log.log(level, health.message or f"backend {self.name} is available")
            self.on_list()
