"""The budget: how many requests a token may make, shared by all that use the token."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from random import Random
from types import MappingProxyType

from controller.backends.railway.failures import Throttled
from controller.backends.railway.ratelimit import RateLimit

SECOND, HOUR = 1.0, 3600.0
FEWEST_AN_HOUR = 100
"""No plan has fewer requests an hour: a smaller number in an answer is of another window."""
SOONEST_SECONDS = 0.001
"""A wait is at least so long: one of 1e-12 s is a rounding, and a clock would not move by it."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 300.0
"""After refusals that do not say how long they last, the rest grows from the first to the longest."""
FIRST_CREATION_PAUSE_SECONDS, LONGEST_CREATION_PAUSE_SECONDS = 15.0, 600.0


class Priority(IntEnum):
    """Whose turn comes first."""

    CLAIM = 0
    """Renames and deletions: somebody waits for them, or pays until they are done."""
    READ = 1
    CREATE = 2


SHARES: Mapping[Priority, float] = MappingProxyType({Priority.CLAIM: 0.1, Priority.READ: 0.3, Priority.CREATE: 0.3})
"""The part of an hour that is kept for each: others cannot use it up."""
_YIELDS_TO: Mapping[Priority, tuple[Priority, ...]] = MappingProxyType({
    Priority.CLAIM: (),
    Priority.READ: (Priority.CLAIM, Priority.CREATE),
    Priority.CREATE: (Priority.CLAIM, Priority.READ),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests that a plan allows."""

    hour: int
    second: int


PLANS: Mapping[str, Limits] = MappingProxyType({
    "Free": Limits(100, 10), "Hobby": Limits(1000, 10), "Pro": Limits(10_000, 50)
})  # fmt: skip


@dataclass(eq=False, slots=True)
class _Waiter:
    granted: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Budget:
    """What a token may still ask. Never exceeds a limit in any sliding second or hour, as the other side counts.

    Only the other side knows when a request arrived, so one counts from its turn until a window after its end.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        random: Random,
        settle: float = SECOND,
    ) -> None:
        """``settle``: seconds before the first turn, since a process that just ended may have used up the second."""
        self._limits = limits
        self._hour = limits.hour
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._waiting: dict[Priority, deque[_Waiter]] = {priority: deque() for priority in Priority}
        self._spent: deque[tuple[float, Priority]] = deque()
        """Ends of requests within the last hour."""
        self._recent: deque[float] = deque()
        """Ends of requests within the last second."""
        self._used = dict.fromkeys(Priority, 0)
        """Requests within the last hour, those under way included."""
        self._under_way = 0
        self._told: int | None = None
        """What is left as the other side told, less what was begun since."""
        self._told_until = 0.0
        self._stopped_until = clock() + settle
        self._refusals = 0
        self._proven = False
        """Whether the last thing heard was an answer. Until then there is one request at a time: nothing is known of
        what was used before."""
        self._closed_until: dict[str, float] = {}
        self._throttles: dict[str, int] = {}

    def restrict(self, limits: Limits) -> None:
        """Somebody who uses the same token says that its plan is smaller."""
        self._limits = Limits(min(self._limits.hour, limits.hour), min(self._limits.second, limits.second))
        self._hour = min(self._hour, limits.hour)

    @property
    def remaining(self) -> int:
        """Requests that are left of the hour."""
        self._forget()
        return max(0, self._left())

    @asynccontextmanager
    async def turn(self, priority: Priority, *, patience: float) -> AsyncIterator[None]:
        """Wait until one request may be made, and make it in the body. Of equals, who came first goes first.

        ``Throttled`` when that takes longer than ``patience`` seconds, as soon as it is known.
        """
        await self._wait(priority, self._clock() + patience)
        try:
            yield
        finally:
            self._under_way -= 1
            now = self._clock()
            self._spent.append((now, priority))
            self._recent.append(now)
            self._wake_first()

    def learn(self, told: RateLimit) -> None:
        """Hear an answer that was no refusal, in the body of its ``turn``."""
        self._proven = True
        self._refusals = 0
        self._heed(told)
        self._wake_first()

    def refuse(self, told: RateLimit) -> float:
        """Hear a 429, in the body of its ``turn``: everybody rests. The answer is for how many seconds."""
        self._proven = False
        self._heed(told)
        seconds = told.retry_after
        if seconds is None:
            pause = min(FIRST_PAUSE_SECONDS * 2.0**self._refusals, LONGEST_PAUSE_SECONDS)
            seconds = pause * (1 + self._random.random() / 2)
        if told.remaining == 0 and told.reset is not None:
            seconds = max(seconds, told.reset)
        self._refusals = min(self._refusals + 1, 10)
        self._stopped_until = max(self._stopped_until, self._clock() + seconds)
        self._wake_first()
        return self._stopped_until - self._clock()

    def throttle(self, operation: str, wish: float | None) -> float:
        """Hear that things were created too quickly: the operation rests, longer each time until it succeeds.

        ``wish``: how many seconds the other side wants, where it says so. The answer is for how many seconds.
        """
        times = self._throttles.get(operation, 0)
        self._throttles[operation] = min(times + 1, 10)
        pause = min(FIRST_CREATION_PAUSE_SECONDS * 2.0**times, LONGEST_CREATION_PAUSE_SECONDS)
        seconds = max(wish or 0.0, pause) * (1 + self._random.random() / 2)
        self._closed_until[operation] = self._clock() + seconds
        return seconds

    def succeed(self, operation: str) -> None:
        """Hear that the operation is not throttled."""
        self._throttles.pop(operation, None)

    def require_open(self, operation: str) -> None:
        """``Throttled`` while the operation rests; who comes back then comes one after the other."""
        seconds = self._closed_until.get(operation, 0.0) - self._clock()
        if seconds > 0:
            raise Throttled(
                "Railway lets things be created only so quickly: creation rests for a while",
                seconds * (1 + self._random.random() / 2),
            )

    def _heed(self, told: RateLimit) -> None:
        if told.limit is not None and told.limit >= FEWEST_AN_HOUR:
            self._hour = min(self._limits.hour, told.limit)
        if told.remaining is None:
            return
        now = self._clock()
        ends = next((each for each in (told.reset, told.retry_after) if each is not None), HOUR)
        # Dates have whole seconds, so a second more.
        until = now + ends + SECOND
        # The other requests under way may not have been counted yet. Answers overtake each other, too: within one
        # window, the smaller number is the newer one.
        left = told.remaining - (self._under_way - 1)
        if self._told is not None and now < self._told_until and abs(until - self._told_until) <= 2 * SECOND:
            self._told = min(self._told, left)
        else:
            self._told, self._told_until = left, until

    async def _wait(self, priority: Priority, deadline: float) -> None:
        waiter = _Waiter()
        queue = self._waiting[priority]
        queue.append(waiter)
        try:
            while True:
                self._serve()
                if waiter.granted:
                    return
                now = self._clock()
                delay = self._delay(priority)
                known = delay if delay is not None else 0.0
                if now + known > deadline or now >= deadline:
                    raise Throttled("the budget of requests to Railway is used up for now", max(known, SECOND))
                if delay is None or queue[0] is not waiter:
                    delay = deadline - now
                await self._wake_or(waiter, min(delay, deadline - now))
        except asyncio.CancelledError:
            if waiter.granted:
                self._give_back(priority)
            raise
        finally:
            if waiter in queue:
                queue.remove(waiter)
            self._wake_first()

    async def _wake_or(self, waiter: _Waiter, seconds: float) -> None:
        waiter.wake.clear()
        waking = asyncio.ensure_future(waiter.wake.wait())
        sleeping = asyncio.ensure_future(self._sleep(max(seconds, SOONEST_SECONDS)))
        try:
            done, _ = await asyncio.wait((waking, sleeping), return_when=asyncio.FIRST_COMPLETED)
            if sleeping in done:
                sleeping.result()
        finally:
            waking.cancel()
            sleeping.cancel()

    def _serve(self) -> None:
        """Give a turn to everybody who may have one now, in order."""
        self._forget()
        while (chosen := self._next()) is not None:
            waiter = self._waiting[chosen].popleft()
            waiter.granted = True
            self._under_way += 1
            self._used[chosen] += 1
            if self._told is not None:
                self._told -= 1
            waiter.wake.set()

    def _next(self) -> Priority | None:
        for priority in Priority:
            if self._waiting[priority] and self._delay(priority) == 0.0:
                return priority
        return None

    def _delay(self, priority: Priority) -> float | None:
        """Seconds until it may have a turn, at the earliest: 0 is now, ``None`` is when something under way ends."""
        now = self._clock()
        if now < self._stopped_until:
            return self._stopped_until - now
        kept = sum(self._kept(other) for other in _YIELDS_TO[priority])
        if self._left() <= kept:
            return self._until_left(kept + 1, now)
        if self._under_way and (not self._proven or self._under_way >= self._limits.second):
            return None
        if self._under_way + len(self._recent) >= self._limits.second:
            return self._recent[0] + SECOND - now
        return 0.0

    def _until_left(self, wanted: int, now: float) -> float:
        """Seconds until so much is left of the hour, at the earliest."""
        wait = SOONEST_SECONDS
        lack = wanted - (self._hour - len(self._spent) - self._under_way)
        if lack > 0:
            wait = self._spent[lack - 1][0] + HOUR - now if lack <= len(self._spent) else HOUR
        if self._told is not None and self._told < wanted:
            wait = max(wait, self._told_until - now)
        return wait

    def _left(self) -> int:
        ours = self._hour - len(self._spent) - self._under_way
        return ours if self._told is None else min(ours, self._told)

    def _kept(self, priority: Priority) -> int:
        """What is kept of the hour for these and not used by them yet."""
        return max(0, int(self._hour * SHARES[priority]) - self._used[priority])

    def _forget(self) -> None:
        """Drop what no window holds any more."""
        now = self._clock()
        while self._recent and self._recent[0] + SECOND <= now:
            self._recent.popleft()
        while self._spent and self._spent[0][0] + HOUR <= now:
            _, priority = self._spent.popleft()
            self._used[priority] -= 1
        if self._told is not None and self._told_until <= now:
            self._told = None

    def _give_back(self, priority: Priority) -> None:
        self._under_way -= 1
        self._used[priority] -= 1
        if self._told is not None:
            self._told += 1

    def _wake_first(self) -> None:
        for queue in self._waiting.values():
            if queue:
                queue[0].wake.set()
