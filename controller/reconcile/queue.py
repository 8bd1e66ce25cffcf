"""The queue: keyed and single-flight."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable

from controller.reconcile.keys import Key

Pass = Callable[[Key], Awaitable[float | None]]
"""Runs one pass; its answer is the number of seconds after which to run it again even if nothing happens."""
OVERTAKEN = 1000
"""How many entries that were overtaken by earlier ones may stay in the heap before it is cleaned."""
RESOLUTION_SECONDS = 0.002
"""Clocks of event loops tick in milliseconds: a timer that rings a little early must not be set again for no time."""


SOONEST_SECONDS = 0.001
"""A pass that asks to be run again waits at least this long: a rest of 1e-17 s is a rounding, not a wish."""


class KeyedQueue:
    """Runs passes by key: never two at once for one key; what happens during a pass makes it run again.

    Passes are coroutines of one event loop and as many as there are keys may be under way.
    """

    def __init__(self, run_pass: Pass) -> None:
        self._run_pass = run_pass
        self._running: dict[Key, asyncio.Task[None] | None] = {}
        self._dirty: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._held: set[Key] = set()
        self._released = False

    def __len__(self) -> int:
        """Keys that wait for their turn or are in a pass."""
        return len(self._running) + len(self._held)

    async def run(self) -> None:
        """Run passes until cancelled. Keys added before ``release`` are held until then."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            if self._released:
                self.release()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._end()

    def release(self) -> None:
        """Let passes begin: the view is complete."""
        self._released = True
        if self._tasks is not None:
            held, self._held = self._held, set()
            for key in sorted(held):
                self.add(key)

    def add(self, key: Key) -> None:
        """Run a pass for the key as soon as possible."""
        if self._tasks is None or not self._released:
            self._held.add(key)
        elif key in self._running:
            # What a pass learned from its own writes it decided on itself.
            if self._running[key] is not asyncio.current_task():
                self._dirty.add(key)
        else:
            self._due.pop(key, None)
            self._running[key] = None
            self._running[key] = self._tasks.create_task(self._run(key))

    def add_after(self, key: Key, seconds: float) -> None:
        """Run a pass for the key in so many seconds, unless one is due earlier."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(seconds, 0.0)
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        if len(self._heap) > 2 * len(self._due) + OVERTAKEN:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (due, next(self._count), key))
        if self._heap[0][2] == key:
            self._set_timer()

    def _end(self) -> None:
        # Passes that are cancelled now may still name keys, and a watch may still deliver: nothing may begin any more.
        self._tasks, self._released = None, False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heap.clear()
        self._due.clear()

    async def _run(self, key: Key) -> None:
        again: float | None = None
        try:
            again = await self._run_pass(key)
        finally:
            del self._running[key]
            if key in self._dirty:
                self._dirty.discard(key)
                self.add(key)
            elif again is not None:
                self.add_after(key, max(again, SOONEST_SECONDS))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer = asyncio.get_running_loop().call_at(self._heap[0][0], self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now + RESOLUTION_SECONDS:
            due, _, key = heapq.heappop(self._heap)
            # An entry that was overtaken by an earlier time or by a pass is left in the heap and skipped here.
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._set_timer()
