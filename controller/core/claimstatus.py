"""The status of a claim: what it says of its phase, when it is too late, and how it ends."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from controller.core.conditions import assert_condition
from controller.core.plan import Note, Plan, Ref
from controller.model import AgentClaim, ClaimPhase, ClaimStatus

if TYPE_CHECKING:
    from controller.core.claim import ClaimPlan, ObservedClaim


def ref_of(seen: "ObservedClaim") -> Ref:
    """The claim, and no later one of its name."""
    meta = seen.claim.metadata
    return Ref(meta.namespace, meta.name, meta.uid)


def bind_deadline(claim: AgentClaim, bind_timeout_seconds: float | None) -> datetime | None:
    """When a claim that is still not bound fails; ``None``: never."""
    seconds = claim.spec.bind_timeout_seconds or bind_timeout_seconds
    created = claim.metadata.creation_timestamp
    return created + timedelta(seconds=seconds) if seconds and created else None


def until_bind_deadline(seen: "ObservedClaim", now: datetime) -> float | None:
    """Seconds until the claim fails unless it is bound; ``None``: it never does."""
    deadline = bind_deadline(seen.claim, seen.pool.bind_timeout_seconds if seen.pool else None)
    return (deadline - now).total_seconds() if deadline is not None else None


def too_late(seen: "ObservedClaim", now: datetime) -> bool:
    """Whether it should have been bound by now."""
    left = until_bind_deadline(seen, now)
    return left is not None and left <= 0


def ended(
    seen: "ObservedClaim",
    phase: ClaimPhase,
    reason: str,
    message: str,
    now: datetime,
    instance: str | None = None,
    attempts: int | None = None,
) -> "ClaimPlan":
    """The plan that ends it for good."""
    status = claim_status(seen, phase, False, reason, message, now, instance=instance or seen.claim.status.instance)
    if attempts is not None:
        status = status.model_copy(update={"attempts": attempts})
    kind: Note = Note("Normal" if phase is ClaimPhase.EXPIRED else "Warning", reason, message)
    return Plan(status=status, notes=(kind,))


def claim_status(
    seen: "ObservedClaim",
    phase: ClaimPhase | None,
    ready: bool,
    reason: str,
    message: str,
    now: datetime,
    instance: str | None = None,
) -> ClaimStatus:
    """The whole status, with a Ready condition that says the same; what was promised stays."""
    old = seen.claim.status
    generation = seen.claim.metadata.generation
    condition = assert_condition(old.conditions, "Ready", ready, reason, message, now, generation)
    return old.model_copy(
        update={
            "phase": phase,
            "instance": instance,
            "message": message or None,
            "queue_position": None,
            "conditions": (condition,),
        }
    )
