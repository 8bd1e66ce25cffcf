"""The bar: keeps launches off a place that takes none, and lets one try when its time has come."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from controller.errors import Barred

LOOK_SECONDS = 10.0
"""How often it is looked whether anybody still waits to try."""
LEAST_SECONDS = 1.0
"""Before the next try at the least."""


class Bar:
    """Whether launches are let through to one place.

    It goes up when a launch says that the place takes no orders, and comes down when one succeeds that was let through
    after that. Those that it turned away are told when they may try. While any of them is there it stays up, and the
    place counts as not available, so that nothing new is made just to find it still closed; once its time has come
    and there is none, it comes down, and the pools make one that tries.
    """

    def __init__(
        self, clock: Callable[[], datetime], changed: Callable[[], None], admitted: Callable[[str], bool]
    ) -> None:
        """``changed``: it went up or down. ``admitted``: that instance may try; False when it need not any more."""
        self._clock = clock
        self._changed = changed
        self._admitted = admitted
        self.error: Barred | None = None
        """Why it is up; ``None`` while it is down."""
        self.since: datetime | None = None
        """When it last went up or down."""
        self._until = clock()
        self._trying = False
        self._turned_away: dict[str, None] = {}
        self._went_up = asyncio.Event()

    @contextmanager
    def passage(self, uid: str) -> Iterator[None]:
        """Around the launch of an instance: ``Barred`` when it may not try now."""
        error, wait = self.error, (self._until - self._clock()).total_seconds()
        if error is not None and (self._trying or wait > 0):
            self._turned_away[uid] = None
            raise Barred(error.reason, str(error), max(0.0, wait))
        self._turned_away.pop(uid, None)
        tries = error is not None
        self._trying = self._trying or tries
        try:
            yield
        except Barred as barred:
            self._turned_away[uid] = None
            self._put_up(barred)
            raise
        else:
            # One that was under way before the bar went up says nothing about it.
            if tries:
                self._take_down()
        finally:
            if tries:
                self._trying = False

    async def run(self) -> None:
        """Let them try when the time has come; until cancelled."""
        while True:
            await self._went_up.wait()
            while self.error is not None:
                self._went_up.clear()
                wait = (self._until - self._clock()).total_seconds()
                if wait <= 0 and not self._trying:
                    self._let_try()
                try:
                    async with asyncio.timeout(wait if wait > 0 else LOOK_SECONDS):
                        await self._went_up.wait()
                except TimeoutError:
                    pass
            self._went_up.clear()

    def _let_try(self) -> None:
        self._turned_away = {uid: None for uid in self._turned_away if self._admitted(uid)}
        if not self._turned_away:
            self._take_down()

    def _put_up(self, error: Barred) -> None:
        self.since = self._clock() if self.error is None else self.since
        before, self.error = self.error, error
        self._until = self._clock() + timedelta(seconds=max(LEAST_SECONDS, error.retry_after))
        self._went_up.set()
        if before is None or (before.reason, str(before)) != (error.reason, str(error)):
            self._changed()

    def _take_down(self) -> None:
        self.error, self.since = None, self._clock()
        turned_away, self._turned_away = self._turned_away, {}
        self._changed()
        for uid in turned_away:
            self._admitted(uid)
