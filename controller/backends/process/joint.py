"""Work beside the event loop: shared by all who ask for it at once, or carried through whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class JointRun(Generic[Result]):
    """Runs a piece of work; whoever calls gets the result of a run that began after the call.

    Twenty callers cost two runs, not twenty, and none of them gets an answer older than its question.
    """

    def __init__(self, work: Callable[[], Awaitable[Result]]) -> None:
        self._work = work
        self._current: asyncio.Task[Result] | None = None
        self._next: asyncio.Task[Result] | None = None

    async def __call__(self) -> Result:
        """Join the next run."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._current))
        return await asyncio.shield(self._next)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while running := [task for task in (self._current, self._next) if task is not None and not task.done()]:
            await asyncio.wait(running)

    async def _run(self, before: asyncio.Task[Result] | None) -> Result:
        if before is not None:
            await asyncio.wait([before])
        self._current, self._next = self._next, None
        return await self._work()


async def carry_through(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Do blocking work in a thread. A cancellation waits for it: a thread cannot be stopped, and locks must hold."""
    running = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
