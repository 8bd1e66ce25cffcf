"""Works: what is carried through whether or not its caller waits for it, and broken off when its backend closes."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from controller.errors import Transient

Answer = TypeVar("Answer")

CLOSE_SECONDS = 0.3
"""How long a backend that closes waits for what is under way: another operator waits for the lead meanwhile."""


class Works:
    """What one backend does to remotes. It may be broken off anywhere, as by a kill: what was begun is found again."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def carry_through(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do it to its end, whether or not the caller waits for that. ``Transient`` once the backend closes."""
        if self._closed:
            work.close()
            raise self._closing()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                raise self._closing() from None
            raise

    async def close(self) -> None:
        """Take no more, and see the end of what is under way."""
        self._closed = True
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _closing(self) -> Transient:
        return Transient(f"the {self._backend} backend is closing")

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Retrieved here too, in case the caller has given up.
            task.exception()
