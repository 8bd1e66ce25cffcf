"""What the backends say exists: one picture per place, kept by its hints, its answers and a periodic list."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from controller import metrics
from controller.core.pool import BackendHealth
from controller.errors import AgentpoolError, Barred, Refused, Transient
from controller.ports import Backend, Remote, RemoteState
from controller.reconcile.bar import Bar

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""How soon a place is asked again after a failure, unless it wishes for more."""
PATIENCE_SECONDS = 15.0
"""After so long without a first answer, good or bad, a place counts as not available."""
LAUNCHES = 16
"""How many launches may be under way at one place."""
MOVING = frozenset({RemoteState.BUILDING, RemoteState.DEPLOYING, RemoteState.UNKNOWN})
"""States that are about to be others."""


@dataclass(frozen=True, slots=True)
class News:
    """Whom the pictures tell what."""

    changed: Callable[[str], None]
    """The remote with that uid is another, or gone."""
    listed: Callable[[str], None]
    """That place was read, or its health is another."""
    admitted: Callable[[str], bool]
    """The instance with that uid may be launched now, after it was kept waiting; False: nobody waits any more."""
    in_use: Callable[[str], bool]
    """Whether any pool or instance is at that place: nobody misses one that nobody uses."""


class Remotes:
    """The picture of one place. After a failed read the last one stands: unknown is never taken for gone."""

    def __init__(self, name: str, backend: Backend, news: News, clock: Callable[[], datetime]) -> None:
        self.name = name
        self.backend = backend
        self.listed = False
        """Whether the picture is complete: only then does a missing remote not exist."""
        self.asked = False
        """Whether the place has answered at all, or was given up on for now."""
        self.bar = Bar(clock, lambda: self._tell(self.health), news.admitted)
        self._kind = name.partition("/")[0]
        self._news = news
        self._clock = clock
        self._read = BackendHealth()
        self._told = self._read
        self._retry_after = 0.0
        self._listing = asyncio.Lock()
        self._launches = asyncio.Semaphore(LAUNCHES)
        self._distrusts = 0
        self._doubted = False
        self._nudged = asyncio.Event()
        self._remotes: dict[str, Remote] = {}
        self._ending: set[str] = set()
        self._learned: dict[str, int] = {}
        self._sequence = 0

    @property
    def readable(self) -> bool:
        """Whether the last list worked."""
        return self._read.available

    @property
    def health(self) -> BackendHealth:
        """Whether the place can be used: read, and launched at."""
        error, since = self.bar.error, self.bar.since
        if not self._read.available or since is None:
            return self._read
        if error is not None:
            return BackendHealth(False, error.reason, str(error), since)
        return replace(self._read, since=max(since, self._read.since or since))

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
            if remote.state in MOVING:
                self._nudged.set()
            self._news.changed(remote.uid)

    def forget(self, uid: str) -> None:
        """Nothing of it is left."""
        self._sequence += 1
        self._learned[uid] = self._sequence
        self._remotes.pop(uid, None)
        self._ending.discard(uid)

    def distrust(self) -> None:
        """What is known may be older than what is asked of it now: nothing is missing until it is listed anew."""
        self.listed = False
        self._distrusts += 1
        self._doubt()

    @asynccontextmanager
    async def launching(self, uid: str) -> AsyncIterator[None]:
        """Around the launch of an instance there; ``Barred`` while the place takes none."""
        async with self._launches:
            with self.bar.passage(uid):
                yield

    async def terminate(self, uid: str, *, grace: float) -> bool:
        """Begin, or go on, ending a remote; True once nothing of it is left."""
        gone = await self.backend.terminate(uid, grace=grace)
        if gone:
            self.forget(uid)
        else:
            self._ending.add(uid)
            self._nudged.set()
        return gone

    async def run(self) -> None:
        """Follow the place until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._list_for_ever())
            tasks.create_task(self._follow_for_ever())
            tasks.create_task(self.bar.run())
            tasks.create_task(self._lose_patience())

    def broke(self) -> None:
        """Following it ended in a way that was not foreseen."""
        message = f"backend {self._kind} failed in a way that was not foreseen: see the operator's log"
        self._set_unavailable("BackendBroken", message)

    async def list_once(self) -> None:
        """Ask for everything, and compare."""
        # One at a time: of two that overlap, the one that ends last may know less.
        async with self._listing:
            await self._list()

    async def _list(self) -> None:
        before, distrusts = self._sequence, self._distrusts
        self._retry_after = 0.0
        try:
            found = {remote.uid: remote for remote in await self.backend.list()}
        except AgentpoolError as error:
            self._retry_after = wished_wait(error)
            reason = error.reason if isinstance(error, Refused) else "BackendUnavailable"
            self._set_unavailable(reason, f"backend {self._kind} cannot be read: {error}")
            return
        # What was learned while the list was under way is newer than the list.
        newer = {uid for uid, sequence in self._learned.items() if sequence > before}
        first, self.listed = not self.listed, distrusts == self._distrusts
        changed = [uid for uid, remote in found.items() if uid not in newer and self._remotes.get(uid) != remote]
        gone = [uid for uid in self._remotes if uid not in found and uid not in newer]
        self._remotes.update({uid: found[uid] for uid in changed})
        for uid in gone:
            del self._remotes[uid]
        self._ending &= found.keys()
        self._learned = {uid: sequence for uid, sequence in self._learned.items() if uid in newer}
        self._set_read(BackendHealth(since=self._read.since if self._read.available else self._clock()))
        for uid in sorted({*changed, *gone, *(self._remotes if first else ())}):
            self._news.changed(uid)
        self._news.listed(self.name)

    async def _list_for_ever(self) -> None:
        while True:
            self._doubted = False
            await self.list_once()
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the next list is due; what is learned meanwhile can make that sooner."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            self._nudged.clear()
            left = began + self._interval() - loop.time()
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._nudged.wait()

    def _interval(self) -> float:
        if not self.readable:
            return max(0.0 if self._doubted else RETRY_SECONDS, self._retry_after)
        if self._doubted:
            return 0.0
        moves = bool(self._ending) or any(remote.state in MOVING for remote in self._remotes.values())
        pace = self.backend.pace
        return pace.fast if moves else pace.slow

    def _doubt(self) -> None:
        self._doubted = True
        self._nudged.set()

    async def _follow_for_ever(self) -> None:
        while True:
            wish = 0.0
            try:
                async for remote in self.backend.changes():
                    self.learn(remote)
            except AgentpoolError as error:
                wish = wished_wait(error)
                level = logging.WARNING if self._news.in_use(self.name) else logging.INFO
                log.log(level, "backend %s stopped telling of changes, following it again: %s", self.name, error)
                # It may be gone, or have been restarted: what died of that is not to be blamed on launches.
                self._read = replace(self._read, since=self._clock())
                self._told = self.health
                self._doubt()
            await asyncio.sleep(max(RETRY_SECONDS, wish))

    async def _lose_patience(self) -> None:
        await asyncio.sleep(PATIENCE_SECONDS)
        if not self.asked:
            message = f"backend {self._kind} has not answered for {PATIENCE_SECONDS:g} s: it is asked on"
            self._set_unavailable("BackendUnavailable", message)

    def _set_unavailable(self, reason: str, message: str) -> None:
        since = self._clock() if self._read.available else self._read.since
        self._set_read(BackendHealth(False, reason, message, since))

    def _set_read(self, health: BackendHealth) -> None:
        self.asked = True
        self._read = health
        self._tell(self.health)

    def _tell(self, health: BackendHealth) -> None:
        changed, self._told = health != self._told, health
        in_use = self._news.in_use(self.name)
        if health.available or in_use:
            metrics.BACKEND_AVAILABLE.labels(self.name).set(1 if health.available else 0)
        if changed:
            level = logging.INFO if health.available or not in_use else logging.WARNING
            log.log(level, "place %s: %s", self.name, health.message or f"backend {self._kind} is available")
            self._news.listed(self.name)


def wished_wait(error: AgentpoolError) -> float:
    """For how many seconds the peer does not want to be asked again."""
    return (error.retry_after or 0.0) if isinstance(error, Transient | Barred) else 0.0
