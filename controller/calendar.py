"""The calendar by which claims end, deadlines pass and pauses are over, although machines' clocks are set."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

log = logging.getLogger(__name__)

SLIGHT_SECONDS = 2.0
"""A clock that is off by no more is followed at once."""
BELIEVED_AFTER_SECONDS = 60.0
"""One that is off by more is followed when it has been so for this long: it is right, and was wrong before."""
LOOK_SECONDS = 1.0
TOLERATED_SECONDS = 30.0
"""By how much this machine's clock and the API server's may differ, before the latter is gone by."""


class Calendar:
    """Goes on evenly by a clock that nobody sets, and follows the machine's own where that can be trusted.

    Were a jump followed at once, a clock that is hours ahead for a moment would end every claim that has a lifetime,
    and one that is set back would have everything wait for hours that is to be done a moment after something else.
    """

    def __init__(self, steady: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        """Both in seconds: ``steady`` since whenever, ``wall`` since the epoch."""
        self._wall = wall
        self._steady = steady
        self._offset = 0.0
        """What the API server's clock is ahead of this machine's, where that is too much."""
        self._ahead = wall() - steady()
        self._jump = 0.0
        self._since = steady()

    def __call__(self) -> datetime:
        """Now."""
        self._look()
        return datetime.fromtimestamp(self._steady() + self._ahead, UTC)

    async def until_set(self) -> None:
        """Wait until the machine's clock was set for good. What was noted by the old time is worth nothing then."""
        while not self._believed:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(LOOK_SECONDS)
        way = "forward" if self._jump > 0 else "back"
        log.warning("the clock of this machine was set %s by %.0f s: beginning anew", way, abs(self._jump))

    def follow(self) -> None:
        """Go by a clock that was set for good: for somebody who has noted no date yet."""
        if self._believed:
            self._ahead += self._jump
            self._jump = 0.0

    def agree(self, there: datetime | None) -> None:
        """Go by the API server's clock, which said that just now, where this machine's is far from it.

        Resources are dated by that one: by a clock that is far ahead of it every deadline is over at once. For somebody
        who has noted no date yet. ``None``: nobody knows what it says.
        """
        if there is None:
            return
        difference = there.timestamp() - self._wall()
        self._offset = difference if abs(difference) > TOLERATED_SECONDS else 0.0
        self._ahead, self._jump = self._wall() + self._offset - self._steady(), 0.0
        if self._offset:
            way = "behind" if difference > 0 else "ahead of"
            log.warning(
                "the clock of this machine is %.0f s %s the API server's, which is gone by: set it",
                abs(difference),
                way,
            )

    @property
    def _believed(self) -> bool:
        self._look()
        return self._jump != 0.0 and self._steady() - self._since >= BELIEVED_AFTER_SECONDS

    def _look(self) -> None:
        now = self._steady()
        jump = self._wall() + self._offset - now - self._ahead
        if abs(jump) <= SLIGHT_SECONDS:
            self._ahead += jump
            self._jump = 0.0
        elif abs(jump - self._jump) > SLIGHT_SECONDS:
            self._jump, self._since = jump, now
