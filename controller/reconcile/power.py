"""Power: freezes idle remotes and wakes them, one thing at a time for each, so that a claimed one never sleeps."""

import asyncio
import logging
from weakref import WeakValueDictionary

from controller.core.plan import Pause, Ref, Resume
from controller.errors import AgentpoolError
from controller.ports import RemoteState
from controller.reconcile.connections import Connections
from controller.reconcile.remotes import Remotes
from controller.reconcile.view import View

log = logging.getLogger(__name__)


class Power:
    """Pauses and resumes the remotes of instances.

    The race to win: a health check has just found an idle instance well and freezes it again while a claim takes it.
    The claim is seen in the view before anything is asked of the instance, so whoever freezes looks there with the
    instance's lock held, and whoever wakes takes the lock: after a wake nothing freezes it any more.
    """

    def __init__(self, connections: Connections, view: View) -> None:
        self._connections = connections
        self._view = view
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def pause(self, action: Pause) -> None:
        """Freeze it, unless somebody has taken it meanwhile."""
        async with self._lock(action.instance.uid):
            remotes = self._remotes_of(action.instance)
            if remotes is not None and self._view.is_free(action.instance.uid):
                remotes.learn(await remotes.backend.pause(action.instance.uid))

    async def resume(self, action: Resume) -> None:
        """Let it go on."""
        async with self._lock(action.instance.uid):
            await self._resume(action.instance)

    def sleeps(self, instance: Ref) -> bool:
        """Whether it is frozen, or just being frozen."""
        lock = self._locks.get(instance.uid)
        return (lock is not None and lock.locked()) or self._is_paused(instance)

    async def wake(self, instance: Ref) -> None:
        """See that it runs; costs nothing when it does. Raises what the backend says."""
        if not self.sleeps(instance):
            return
        async with self._lock(instance.uid):
            if self._is_paused(instance):
                await self._resume(instance)

    async def begin_to_wake(self, instance: Ref) -> None:
        """Wake it ahead of its need. What fails is logged: it is woken again when it is needed."""
        try:
            await self.wake(instance)
        except AgentpoolError as error:
            log.warning("instance %s/%s could not be resumed yet: %s", *instance.key, error)

    async def _resume(self, instance: Ref) -> None:
        remotes = self._remotes_of(instance)
        if remotes is not None:
            remotes.learn(await remotes.backend.resume(instance.uid))

    def _is_paused(self, instance: Ref) -> bool:
        remotes = self._remotes_of(instance)
        remote = remotes.get(instance.uid) if remotes is not None else None
        return remote is not None and remote.state is RemoteState.PAUSED

    def _lock(self, uid: str) -> asyncio.Lock:
        return self._locks.setdefault(uid, asyncio.Lock())

    def _remotes_of(self, reference: Ref) -> Remotes | None:
        instance = self._view.instance_by_uid.get(reference.uid)
        return self._connections.of(instance) if instance is not None else None
