"""Waiting for a condition: tests never assert how long something takes, only that it comes."""

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 60.0
"""Seconds after which a condition counts as never met; generous, since the machine may be busy."""
PAUSE = 0.05

T = TypeVar("T")


def eventually(check: Callable[[], T], otherwise: Callable[[], object] = lambda: "") -> T:
    """The first truthy outcome of ``check``; after the deadline it fails with what ``otherwise`` tells."""
    end = time.monotonic() + DEADLINE
    while not (outcome := check()):
        assert time.monotonic() < end, f"the condition was not met in time; last seen: {outcome!r} {otherwise()}"
        time.sleep(PAUSE)
    return outcome
