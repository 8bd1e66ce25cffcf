"""The circuit breaker on launches: after failures in a row it opens, later it lets probes through."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.model import BreakerState, BreakerStatus
from controller.model.pool import CircuitBreaker

PROVEN_SECONDS = 30.0
"""An instance that died unclaimed within this time of its readiness counts as a failed launch; one that lived
longer proves that launching works."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is remembered of the launches of one pool."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    opened_at: datetime | None = None
    last_failure: str = ""
    last_failure_at: datetime | None = None
    changes_at: datetime | None = None
    """When time alone changes it."""
    probes: bool = False
    """Half-open, and one instance may be launched to see whether it works again."""

    @classmethod
    def from_status(cls, status: BreakerStatus | None) -> "Breaker":
        """What an earlier pass or controller wrote down."""
        if status is None:
            return cls()
        return cls(status.state, status.failures, status.opened_at, status.last_failure or "", status.last_failure_at)

    def failed(self, spec: CircuitBreaker, message: str, now: datetime) -> "Breaker":
        """One more launch failed."""
        trips = self.state is not BreakerState.CLOSED or self.failures + 1 >= spec.failures
        return replace(
            self,
            state=BreakerState.OPEN if trips else BreakerState.CLOSED,
            failures=self.failures + 1,
            opened_at=now if trips else self.opened_at,
            last_failure=message,
            last_failure_at=now,
        )

    def tripped(self, message: str, now: datetime) -> "Breaker":
        """The backend cannot be used: open at once, without waiting for launches to fail."""
        if self.state is BreakerState.OPEN and self.last_failure == message:
            return self
        return replace(
            self, state=BreakerState.OPEN, opened_at=now, last_failure=message, last_failure_at=now, changes_at=None
        )

    def recovered(self, spec: CircuitBreaker) -> "Breaker":
        """The backend can be used: what was open for nothing else closes at once."""
        if self.state is not BreakerState.OPEN or self.failures >= spec.failures:
            return self
        return replace(self, state=BreakerState.CLOSED, opened_at=None) if self.failures else Breaker()

    def settle(
        self,
        spec: CircuitBreaker,
        ready_since: Iterable[datetime],
        now: datetime,
        *,
        starting_since: Collection[datetime] = (),
    ) -> "Breaker":
        """Closed once a launch after the last failure has proven itself, half-open once the pause is over."""
        if self.last_failure_at is None:
            return self
        later = [since for since in ready_since if since > self.last_failure_at]
        proven_at = min(later) + timedelta(seconds=PROVEN_SECONDS) if later else None
        if proven_at is not None and now >= proven_at:
            return Breaker()
        if self.state is BreakerState.CLOSED or self.opened_at is None:
            return replace(self, changes_at=proven_at)
        half_open_at = self.opened_at + timedelta(seconds=spec.open_seconds)
        if self.state is BreakerState.OPEN and now < half_open_at:
            return replace(self, changes_at=min(half_open_at, proven_at or half_open_at))
        probe_at = _next_probe_at(spec, starting_since, now)
        probes = probe_at is not None and probe_at <= now
        changes = [at for at in (proven_at, probe_at) if at is not None and at > now]
        return replace(self, state=BreakerState.HALF_OPEN, probes=probes, changes_at=min(changes, default=None))

    def allowance(self, wanted: int) -> int:
        """How many of the launches that are wanted may happen now."""
        if self.state is BreakerState.OPEN:
            return 0
        if self.state is BreakerState.HALF_OPEN:
            return min(wanted, int(self.probes))
        return wanted

    def changes_in(self, now: datetime) -> float | None:
        """Seconds until time alone changes it."""
        return (self.changes_at - now).total_seconds() if self.changes_at is not None else None

    def status(self) -> BreakerStatus | None:
        """The form in which it is shown, and in which a later controller finds it; nothing while all is well."""
        if self.last_failure_at is None:
            return None
        return BreakerStatus(
            state=self.state,
            failures=self.failures,
            opened_at=self.opened_at,
            last_failure=self.last_failure or None,
            last_failure_at=self.last_failure_at,
        )


def _next_probe_at(spec: CircuitBreaker, starting_since: Collection[datetime], now: datetime) -> datetime | None:
    """When one more may be launched: a probe that hangs until its deadline must not be all that is tried.

    While probes are undecided the next one waits a pause, then two, four, and so on; as many as open the circuit are
    enough. ``None``: not before one of them is decided.
    """
    if not starting_since:
        return now
    if len(starting_since) >= spec.failures:
        return None
    return max(starting_since) + timedelta(seconds=spec.open_seconds * 2 ** (len(starting_since) - 1))
