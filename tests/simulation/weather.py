"""What goes wrong between a controller and its world, drawn from one seeded random."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Fate(StrEnum):
    """What becomes of one request."""

    FAIR = "fair"
    LOST = "lost"
    """It never arrives, and the caller hears of a failure."""
    UNANSWERED = "unanswered"
    """It has its effect, and the caller hears of a failure."""
    LATE = "late"
    """The caller hears of a failure, and only then it has its effect."""
    CONFLICT = "conflict"
    """The server refuses it with 409, for reasons of its own."""


@dataclass(frozen=True, slots=True)
class Climate:
    """How often requests meet which fate, and how long they take in seconds."""

    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    conflict: float = 0.0
    latency: tuple[float, float] = (0.001, 0.004)
    slow: float = 0.0
    """Share of requests that take up to a second more."""


FAIR = Climate()


class Weather:
    """The climate of a world, and what is down in it just now."""

    def __init__(self, random: Random, climate: Climate = FAIR) -> None:
        self._random = random
        self.climate = climate
        self.down: set[str] = set()
        """``cluster``, ``backend``, ``runtime``."""
        self._destined: list[tuple[re.Pattern[str], Fate]] = []
        self._ambushes: list[tuple[re.Pattern[str], Callable[[], object]]] = []

    def destine(self, what: str, fate: Fate) -> None:
        """The next request that matches the pattern meets this fate."""
        self._destined.append((re.compile(what), fate))

    def ambush(self, what: str, happens: Callable[[], object]) -> None:
        """Something happens right before the next request that matches the pattern has its effect."""
        self._ambushes.append((re.compile(what), happens))

    def spring(self, what: str) -> None:
        """A request is about to have its effect."""
        for ambush in self._ambushes:
            if ambush[0].fullmatch(what):
                self._ambushes.remove(ambush)
                ambush[1]()
                return

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.climate = FAIR
        self.down.clear()

    def fate(self, service: str, what: str, write: bool) -> Fate:
        """What becomes of this request."""
        if service in self.down:
            return Fate.LOST
        for destined in self._destined:
            if destined[0].fullmatch(what):
                self._destined.remove(destined)
                return destined[1]
        climate, drawn = self.climate, self._random.random()
        if not write:
            return Fate.LOST if drawn < climate.lost else Fate.FAIR
        # An API server answers 409 to a deletion only where the object is another one: that is no accident.
        contestable = service == "cluster" and what.startswith("patch")
        for fate, share in (
            (Fate.LOST, climate.lost),
            (Fate.UNANSWERED, climate.unanswered),
            (Fate.LATE, climate.late),
            (Fate.CONFLICT, climate.conflict if contestable else 0.0),
        ):
            if drawn < share:
                return fate
            drawn -= share
        return Fate.FAIR

    def latency(self) -> float:
        """Seconds that a request takes one way."""
        seconds = self._random.uniform(*self.climate.latency)
        if self.climate.slow and self._random.random() < self.climate.slow:
            seconds += self._random.random()
        return seconds

    def lateness(self) -> float:
        """Seconds after which a late request has its effect."""
        return self._random.uniform(0.01, 3.0)

    def is_still_sent(self) -> bool:
        """Whether a request that was under way when its sender was killed arrives all the same."""
        return self._random.random() < 0.5
