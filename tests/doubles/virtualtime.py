"""An event loop whose clock jumps: waiting costs nothing, and the same program takes the same course every time."""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""What the calendar says when a loop begins."""

T = TypeVar("T")


class DeadlockError(Exception):
    """Everything waits, and nothing is due ever."""


class _Jump(selectors.DefaultSelector):  # type: ignore[misc,valid-type,unused-ignore]
    """Where a real loop would sleep, the clock moves on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadlockError("every task waits and no timer is set")
        self.now += max(timeout, 0.0)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on a clock of its own. Nothing in it may touch a socket, a process or a thread."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Seconds since the loop began."""
        return self._jump.now


def now() -> datetime:
    """The calendar of the running loop."""
    return BEGINNING + timedelta(seconds=asyncio.get_running_loop().time())


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
