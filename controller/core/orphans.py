"""Which remotes nobody owns: they end after a grace period."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from controller.core.plan import EndOrphan, soonest


@dataclass(frozen=True, slots=True)
class OrphanPlan:
    """What one look at a backend decides."""

    ends: tuple[EndOrphan, ...]
    suspected_since: Mapping[str, datetime]
    """For every remote without an owner, since when: to be handed in at the next look."""
    look_again_in: float | None


def decide(
    backend: str,
    remotes: Collection[str],
    owned: Collection[str],
    suspected_since: Mapping[str, datetime],
    grace_seconds: float,
    now: datetime,
) -> OrphanPlan:
    """``remotes`` and ``owned`` are uids; a remote is ended once it was without an owner for the whole grace period."""
    since = {uid: suspected_since.get(uid, now) for uid in remotes if uid not in owned}
    age = {uid: (now - first).total_seconds() for uid, first in since.items()}
    ends = tuple(EndOrphan(uid, backend) for uid in sorted(since) if age[uid] >= grace_seconds)
    left = [grace_seconds - age[uid] for uid in since if age[uid] < grace_seconds]
    return OrphanPlan(ends, since, soonest(*left))
