"""What has been told to the controller, and what is to be told."""

import asyncio
import logging
from collections.abc import AsyncIterator

from controller.backends.docker.endings import Endings
from controller.backends.docker.inventory import Inventory
from controller.backends.docker.launches import Launches
from controller.errors import AgentpoolError, Transient
from controller.ports import Remote, RemoteState

log = logging.getLogger(__name__)

FEW = 4
"""Up to so many instances are looked at one by one, more of them by one list of all."""
RETRY_SECONDS = 1.0


class Watch:
    """Turns events into hints, one per instance at most: the latest."""

    def __init__(self, inventory: Inventory, launches: Launches, endings: Endings) -> None:
        self._inventory = inventory
        self._launches = launches
        self._endings = endings
        self._told: dict[str, Remote] = {}
        self._gone: set[str] = set()
        self._dirty: dict[str, set[str]] = {}
        self._woken = asyncio.Event()
        self._hints: dict[str, Remote] = {}
        self._hinted = asyncio.Event()
        self._lost: Transient | None = None
        self._closed = False

    def lost(self, error: Transient) -> None:
        """The engine is not followed for a while."""
        self._lost = error
        self._hinted.set()

    def seed(self, remotes: list[Remote]) -> None:
        """What was found at the start is no change."""
        self._told = {remote.uid: remote for remote in remotes}

    def answered(self, remote: Remote) -> Remote:
        """The controller gets this as an answer; exits are told as well, to whoever follows the changes."""
        self._gone.discard(remote.uid)
        if remote.state is RemoteState.EXITED:
            self._tell(remote)
        self._told[remote.uid] = remote
        return remote

    def gone(self, uid: str) -> None:
        """The controller knows that nothing is left: what is on its way is stale."""
        self._told.pop(uid, None)
        self._hints.pop(uid, None)
        self._gone.add(uid)

    def ended(self, uid: str) -> None:
        """An end was completed in the background."""
        remote = self._told.pop(uid, None)
        self._gone.add(uid)
        backend_id, namespace = (remote.backend_id, remote.namespace) if remote is not None else ("", "")
        self._hint(Remote(uid, backend_id, RemoteState.EXITED, None, "was terminated", namespace=namespace))

    def happened(self, uid: str, container: str) -> None:
        """An event about a container of an instance."""
        self._dirty.setdefault(uid, set()).add(container)
        self._woken.set()

    async def look_at_all(self) -> None:
        """Compare everything with what was told."""
        self._gone.clear()
        found = {remote.uid: remote for remote in await self._inventory.remotes()}
        self._compare({*found, *self._told}, found)

    async def run(self) -> None:
        """Look at what events were about, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            dirty, self._dirty = self._dirty, {}
            self._gone -= dirty.keys()
            try:
                self._compare(set(dirty), await self._look(dirty))
            except AgentpoolError as error:
                log.warning("what has changed is not known yet: %s", error)
                for uid, containers in dirty.items():
                    self._dirty.setdefault(uid, set()).update(containers)
                await asyncio.sleep(RETRY_SECONDS)
                self._woken.set()
            except Exception:
                # The periodic list will have to do for these.
                log.exception("what has changed cannot be read")

    async def changes(self) -> AsyncIterator[Remote]:
        """The hints; ``Transient`` once the engine was lost, after which they may be followed again."""
        while not self._closed:
            if self._lost is not None:
                error, self._lost = self._lost, None
                raise error
            if self._hints:
                yield self._hints.pop(next(iter(self._hints)))
            else:
                self._hinted.clear()
                await self._hinted.wait()

    def close(self) -> None:
        """Let whoever follows the changes go."""
        self._closed = True
        self._hinted.set()

    async def _look(self, dirty: dict[str, set[str]]) -> dict[str, Remote]:
        await asyncio.gather(*(self._inventory.settle(each) for containers in dirty.values() for each in containers))
        for uid in dirty:
            self._endings.wake(uid)
        if len(dirty) > FEW:
            return {remote.uid: remote for remote in await self._inventory.remotes()}
        containers = [await self._inventory.find(uid) for uid in dirty]
        # One that never ran is a launch that goes on.
        remotes = [await self._inventory.remote_of(each) for each in containers if each is not None and each.ran]
        return {remote.uid: remote for remote in remotes}

    def _compare(self, uids: set[str], found: dict[str, Remote]) -> None:
        # What was completed during the look is newer than what it saw.
        for uid in uids - self._gone:
            remote, told = found.get(uid), self._told.get(uid)
            if remote is not None:
                # A launch tells of its success itself.
                if not (self._launches.under_way(uid) and remote.state is RemoteState.RUNNING):
                    self._tell(remote)
            elif told is not None and not self._launches.under_way(uid):
                self._told.pop(uid)
                gone = Remote(uid, told.backend_id, RemoteState.EXITED, None, "was removed", namespace=told.namespace)
                self._hint(gone)

    def _tell(self, remote: Remote) -> None:
        if self._told.get(remote.uid) != remote:
            self._told[remote.uid] = remote
            self._hint(remote)

    def _hint(self, remote: Remote) -> None:
        self._hints[remote.uid] = remote
        self._hinted.set()
