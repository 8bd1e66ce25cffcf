"""The election: what one process may conclude from a Lease, on a clock of its own that nobody can set.

No calendar is ever compared with another one. Whoever holds the Lease counts its time from before the request was sent
that the API server granted; everybody else counts the same time from when they saw that it was granted, which is later.
So two may believe that they lead only if their clocks *run* at rates that differ by more than the margin allows.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A Lease as it is stored, or as it is to be."""

    holder: str
    """Name of the process that holds it; empty: nobody."""
    duration_seconds: int
    """What its holder promises: to have stopped, or to have renewed it, after so long."""
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    """For people only."""
    transitions: int = 0
    """How often it went from one holder to another."""
    version: str = ""
    """Resource version: it is replaced only where it is still this one."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a Lease is held; in seconds."""

    duration_seconds: int = 8
    renew_seconds: float = 2.0
    poll_seconds: float = 0.5
    """How often those who do not hold it look."""
    margin_seconds: float = 2.0
    """So long before it can be another's its holder stops: for clocks that run at different rates, and for stopping."""

    @property
    def writing_seconds(self) -> float:
        """How long after a renewal was asked for its holder may write."""
        return self.duration_seconds - self.margin_seconds


class Election:
    """What one process knows of the Lease, and what follows. ``now`` is always its own steady clock."""

    def __init__(self, name: str, terms: Terms) -> None:
        self._name = name
        self._terms = terms
        self._seen: LeaseRecord | None = None
        self._seen_at = NEVER
        self._gone = False
        self._writes_until = NEVER
        self._term = 0

    @property
    def term(self) -> int:
        """Counts the times that this process began to lead."""
        return self._term

    @property
    def holder(self) -> str:
        """Who holds the Lease as last seen."""
        return self._seen.holder if self._seen is not None else ""

    @property
    def has_lease(self) -> bool:
        """Whether this process is the holder, as last seen; that alone is no permission to write."""
        return not self._gone and self.holder == self._name

    def writing_left(self, now: float) -> float:
        """For how many seconds this process may write, if nothing more is heard; 0 or less: it may not."""
        return self._writes_until - now

    def saw(self, record: LeaseRecord | None, now: float) -> None:
        """A read was answered, at ``now`` or a little earlier."""
        if record is None:
            if not self._gone and self._seen is not None:
                # It may have been renewed a moment before it was deleted, and its holder goes by that.
                self._seen_at = now
            self._gone = True
            return
        self._gone = False
        # Every grant makes another version, so one that is the same was not renewed since it was first seen.
        if self._seen is None or record.version != self._seen.version:
            self._seen_at = now
        self._seen = record
        if record.holder != self._name:
            self._writes_until = NEVER

    def open_in(self, now: float) -> float:
        """In how many seconds this process may ask for the Lease, if it is not renewed; 0 or less: at once."""
        seen = self._seen
        # One that was deleted is still its holder's for as long as was promised.
        if seen is None or (not self._gone and seen.holder in {"", self._name}):
            return 0.0
        return self._seen_at + max(seen.duration_seconds, 1) - now

    def bid(self, calendar: datetime, now: float) -> LeaseRecord | None:
        """What to store so as to get or keep the Lease; without a version it is to be created. ``None``: too early."""
        leads = self.writing_left(now) > 0
        if not leads and self.open_in(now) > 0:
            return None
        seen = self._seen
        mine = seen is not None and seen.holder == self._name
        if seen is not None and calendar == seen.renewed_at:
            calendar += timedelta(microseconds=1)  # what changes nothing is not stored, and nobody would see it
        return LeaseRecord(
            holder=self._name,
            duration_seconds=self._terms.duration_seconds,
            acquired_at=seen.acquired_at if seen is not None and mine else calendar,
            renewed_at=calendar,
            transitions=(seen.transitions + (0 if mine else 1)) if seen is not None else 0,
            version=seen.version if seen is not None and not self._gone else "",
        )

    def granted(self, record: LeaseRecord, asked_at: float, now: float) -> None:
        """The API server stored our bid; ``asked_at`` is from before it was sent."""
        if self.writing_left(now) <= 0:
            self._term += 1
        self._gone, self._seen, self._seen_at = False, record, now
        self._writes_until = asked_at + self._terms.writing_seconds

    def resign(self, calendar: datetime) -> LeaseRecord | None:
        """Write no more. Answers what to store so that another one need not wait; ``None``: it is not ours."""
        self._writes_until = NEVER
        if self._seen is None or not self.has_lease:
            return None
        return replace(self._seen, holder="", renewed_at=calendar)
