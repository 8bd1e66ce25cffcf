"""One lock per instance."""

import asyncio
from weakref import WeakValueDictionary


class Locks:
    """One lock per instance: what changes its remote is done one after the other."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __call__(self, uid: str) -> asyncio.Lock:
        """The lock of an instance, for as long as somebody holds it."""
        lock = self._locks.get(uid)
        if lock is None:
            lock = self._locks[uid] = asyncio.Lock()
        return lock
