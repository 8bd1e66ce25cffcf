"""Two lanes to the API server: what a person waits for goes first, everything else takes the gaps."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

RESOLUTION_SECONDS = 0.002
"""Clocks of event loops tick in milliseconds: a timer may ring that much early."""


class Lanes:
    """Bounds the requests in flight, and keeps refilling from delaying a bind.

    A background request starts when nothing urgent has been under way for ``grace`` seconds (a claim takes several
    steps, and its next request comes soon), or, so that steady traffic cannot starve it, when it has waited
    ``patience`` seconds; then ``trickle`` at a time.
    """

    def __init__(
        self, *, urgent: int = 24, background: int = 3, trickle: int = 2, patience: float = 0.25, grace: float = 0.01
    ) -> None:
        self._urgent_limit, self._background_limit = urgent, background
        self._trickle, self._patience, self._grace = trickle, patience, grace
        self._urgent_ended = float("-inf")
        self._urgent = 0
        self._background = 0
        self._urgent_waiting: deque[asyncio.Future[None]] = deque()
        self._background_waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def urgent(self) -> AsyncIterator[None]:
        """A request on the claim path."""
        if self._urgent >= self._urgent_limit or self._urgent_waiting:
            await self._wait(self._urgent_waiting)
        else:
            self._urgent += 1
        try:
            yield
        finally:
            self._urgent -= 1
            self._urgent_ended = asyncio.get_running_loop().time()
            self._admit()

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """Any other request."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (asyncio.get_running_loop().time(), future)
        self._background_waiting.append(entry)
        self._admit()
        try:
            await future
        except asyncio.CancelledError:
            self._give_up(future, entry)
            raise
        try:
            yield
        finally:
            self._background -= 1
            self._admit()

    async def _wait(self, waiting: "deque[asyncio.Future[None]]") -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._urgent -= 1
                self._admit()
            elif future in waiting:
                waiting.remove(future)
            raise

    def _give_up(self, future: asyncio.Future[None], entry: tuple[float, asyncio.Future[None]]) -> None:
        if future.done() and not future.cancelled():
            self._background -= 1
            self._admit()
        elif entry in self._background_waiting:
            self._background_waiting.remove(entry)

    def _admit(self) -> None:
        # A request that was cancelled may not have left its place yet.
        while self._urgent_waiting and self._urgent < self._urgent_limit:
            if not (future := self._urgent_waiting.popleft()).done():
                self._urgent += 1
                future.set_result(None)
        while self._background_waiting and self._background < self._background_room():
            if not (future := self._background_waiting.popleft()[1]).done():
                self._background += 1
                future.set_result(None)
        if self._background_waiting:
            self._look_again_in(self._until_more_room())

    def _look_again_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if seconds <= 0:
            return  # every place is taken, and whoever leaves one looks
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds + RESOLUTION_SECONDS:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds + RESOLUTION_SECONDS, self._look_again)

    def _until_more_room(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._urgent > 0 or self._urgent_waiting:
            return self._background_waiting[0][0] + self._patience - RESOLUTION_SECONDS - now
        return self._urgent_ended + self._grace - RESOLUTION_SECONDS - now

    def _background_room(self) -> int:
        if self._until_more_room() > 0:
            return 0
        return self._trickle if self._urgent > 0 or self._urgent_waiting else self._background_limit

    def _look_again(self) -> None:
        self._timer = None
        self._admit()
