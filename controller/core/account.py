"""The ledger as decisions see it: whether an object's story is told to its end, and how far the ledger is behind."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

AWAITED_SECONDS = 2.0
"""An end that waits for the ledger for less than this is not worth a status."""
BEHIND_SECONDS = 10.0
"""A ledger that is behind, or not well, for less than this is not worth a condition: a restart of Postgres is."""


class Ending(Enum):
    """What the ledger has of the end of an object that is being deleted."""

    UNTOLD = "untold"
    """It was not handed over yet."""
    TOLD = "told"
    """It was handed over, and waits."""
    SAFE = "safe"
    """All of the object's story has arrived; or nobody keeps it."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the ledger has of one object."""

    kept: bool = False
    """Whether there is a ledger."""
    ending: Ending = Ending.SAFE
    told_at: datetime | None = None
    """When its end was handed over."""
    trouble: str = ""
    """Why it has not arrived, in a sentence, if anything is wrong."""
    unrecorded: str | None = None
    """Why nothing may be promised to it yet, in a sentence: only a strict ledger says so."""

    def quiet(self, now: datetime) -> float:
        """For how many seconds more nobody needs to be told that its end waits."""
        return AWAITED_SECONDS - (now - (self.told_at or now)).total_seconds()

    @property
    def waits(self) -> str:
        """That its end waits, in a sentence."""
        why = f": {self.trouble}" if self.trouble else ""
        return f"its last record is not in the ledger yet, and is waited for{why}"


@dataclass(frozen=True, slots=True)
class LedgerHealth:
    """How the ledger is, in the words of a condition that change seldom: each change is a write for every pool."""

    current: bool = True
    reason: str = "Current"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Books:
    """What is known of the ledger at one moment."""

    records: int = 0
    """How many wait."""
    waiting_since: datetime | None = None
    """Since when the oldest of them does."""
    ill_since: datetime | None = None
    """Since when something is wrong."""
    trouble: str | None = None
    """What is wrong, in a sentence."""
    strict: bool = False
    """Whether no claim gets an agent that the ledger cannot record."""

    def health(self, now: datetime) -> LedgerHealth:
        """How the ledger is by now."""
        limit = now - timedelta(seconds=BEHIND_SECONDS)
        ill = self.trouble is not None and self.ill_since is not None and self.ill_since <= limit
        behind = self.waiting_since is not None and self.waiting_since <= limit
        if not ill and not behind:
            return LedgerHealth()
        backlog = "nothing waits to be recorded"
        if self.waiting_since is not None and self.records:
            # A power of ten, and a date instead of a duration: they stay the same for long.
            least = 10 ** (len(str(self.records)) - 1)
            few = "1 record waits" if self.records == 1 else f"{least} or more records wait"
            backlog = f"{few}, the oldest since {self.waiting_since:%Y-%m-%dT%H:%M:%SZ}"
        why = f": {self.trouble}" if self.trouble is not None else ""
        claims = "no claim gets an agent, since the ledger is strict" if self.strict and ill else "claims go on"
        return LedgerHealth(False, "Unavailable" if ill else "Behind", f"{claims}, and {backlog}{why}")
