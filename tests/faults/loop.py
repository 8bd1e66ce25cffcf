"""An event loop in a thread of its own: proxies live there, while stories and faults are plain code."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tests.e2e.waiting import DEADLINE

T = TypeVar("T")


class Loop:
    """Runs from its making until ``close``."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its outcome, once it is there."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE)

    def call(self, function: Callable[[], T]) -> T:
        """What a plain function answers that touches things of the loop."""

        async def call() -> T:
            return function()

        return self.run(call())

    def close(self) -> None:
        """End what still runs there, and the thread."""
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        await self._loop.shutdown_asyncgens()
