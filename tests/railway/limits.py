"""The limits on requests, hour by hour and second by second."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil

from tests.railway.settings import Settings

HOUR = 3600.0
SECOND = 1.0


@dataclass
class Window:
    """Counts from its first request on."""

    length: float
    ends: float = 0.0
    count: int = 0

    def add(self, now: float) -> int:
        """One more; how many there are."""
        if now >= self.ends:
            self.ends, self.count = now + self.length, 0
        self.count += 1
        return self.count


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may pass, and the headers of its answer."""

    admitted: bool
    headers: Mapping[str, str]


@dataclass
class Budget:
    """What one token, or one account, has used up."""

    hour: Window = field(default_factory=lambda: Window(HOUR))
    second: Window = field(default_factory=lambda: Window(SECOND))


class Limits:
    """Counts requests; ``clock`` gives seconds since the epoch."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._budgets: dict[str, Budget] = {}
        self._unidentified = Window(SECOND)

    def admit(self, who: str) -> Admission:
        """Count a request of somebody."""
        now, plan = self._clock(), self._settings.limits
        budget = self._budgets.setdefault(who, Budget())
        hourly, secondly = budget.hour.add(now), budget.second.add(now)
        headers = {
            "X-RateLimit-Limit": str(plan.per_hour),
            "X-RateLimit-Remaining": str(max(0, plan.per_hour - hourly)),
            "X-RateLimit-Reset": self._reset(budget.hour.ends, now),
        }
        if not self._settings.limited or (hourly <= plan.per_hour and secondly <= plan.per_second):
            return Admission(True, headers)
        ends = budget.hour.ends if hourly > plan.per_hour else budget.second.ends
        return Admission(False, headers | {"Retry-After": str(max(1, ceil(ends - now)))})

    def admit_unidentified(self) -> bool:
        """Count a request that does not say where it comes from."""
        return self._unidentified.add(self._clock()) <= self._settings.unidentified_per_second

    def used(self, who: str) -> int:
        """Requests in the current hour."""
        return self._budgets[who].hour.count if who in self._budgets else 0

    def _reset(self, ends: float, now: float) -> str:
        match self._settings.reset_format:
            case "epoch":
                return str(ceil(ends))
            case "iso":
                return datetime.fromtimestamp(ends, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            case "seconds":
                return str(ceil(ends - now))
