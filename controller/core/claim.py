"""What happens to one claim: wait, provision the instance that was bound to it, stay bound, expire, fail."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from controller.core.account import AWAITED_SECONDS, Account, Ending
from controller.core.backoff import backoff
from controller.core.claimstatus import claim_status, ended, ref_of, too_late, until_bind_deadline
from controller.core.invite import wrong_network
from controller.core.plan import (
    AskAcceptance,
    AskRivals,
    ClaimAction,
    Conclude,
    Delete,
    Hold,
    LetGo,
    Note,
    Plan,
    Provision,
    Ref,
    soonest,
)
from controller.model import LEDGER_FINALIZER, AgentClaim, ClaimPhase, ClaimStatus, Network

SILENT_SECONDS = 1.0
"""A claim that is served within this time never gets a status that says it waits: that would be a write more."""
POSITION_SECONDS = 5.0
"""A change of nothing but the position in the queue is written no more often than this, and the more seldom the
longer the queue, so that a long one costs hardly more writes than a short one."""
ACCEPTANCE_SECONDS = 2.0
"""How often an agent that waits to be accepted is asked."""
RETRY_SECONDS = 2.0
"""The longest pause before an instance that could not take up its conversation yet is asked again: one that is being
woken may be up only just before its time is over."""
MAX_ATTEMPTS = 3
"""Instances that one claim may use up before it fails: it is then likely the claim that breaks them."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The instance whose ``claimRef`` names the claim."""

    ref: Ref
    url: str | None
    deleting: bool = False
    crashed: str | None = None
    """Why it is beyond use, if it is."""


@dataclass(frozen=True, slots=True)
class ProvisionOutcome:
    """What became of the last try to provision; kept as a fact for the claim's next pass."""

    instance_uid: str
    kind: str
    """``done``; ``refused``: this order is taken by no instance; ``unfit``: this instance takes no order of ours;
    ``transient``; or ``unprepared``: the instance was not asked yet, since the instructions could not be read."""
    first_try_at: datetime
    at: datetime
    tries: int = 1
    reason: str = ""
    message: str = ""
    conversation_id: str | None = None
    invite_url: str | None = None
    joined: bool = False
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """The pool's answer that there is nothing for this claim."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PoolView:
    """What a claim needs to know of its pool."""

    provision_timeout_seconds: float
    bind_timeout_seconds: float | None
    default_lifetime_seconds: float | None
    max_lifetime_seconds: float | None
    queues: bool
    """Whether claims may wait; else the pool itself rejects those that find nothing."""
    has_idle: bool
    why_empty: str
    """A sentence on why there is nothing idle."""
    lives_in: Network | None = None
    """The network in which its agents live, if it says so."""
    barrier: str | None = None
    """Why no claim is given an instance now, in a sentence: the ledger is strict, and cannot record it."""


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    """Everything that the decision on one claim rests on."""

    claim: AgentClaim
    pool: PoolView | None
    assigned: Assigned | None
    outcome: ProvisionOutcome | None = None
    accepted_conversation: str | None = None
    asked_at: datetime | None = None
    rejection: Rejection | None = None
    being_bound: bool = False
    """The write that binds it is under way."""
    first_seen_at: datetime | None = None
    queue_position: int | None = None
    status_written_at: datetime | None = None
    account: Account = field(default_factory=Account)
    """What the ledger has of it."""
    rivals: tuple[Assigned, ...] = ()
    """The instances that name it, where there are several, and it is not known which of them was asked."""


ClaimPlan = Plan[ClaimAction, ClaimStatus]


def expiry(claim: AgentClaim, pool: PoolView | None) -> datetime | None:
    """When a bound claim expires; ``None``: never."""
    bound = claim.status.bound_at
    wish = claim.spec.lifetime_seconds or (pool.default_lifetime_seconds if pool else None)
    limit = pool.max_lifetime_seconds if pool else None
    seconds = min((s for s in (wish, limit) if s), default=None)
    return bound + timedelta(seconds=seconds) if bound and seconds else None


def decide(seen: ObservedClaim, now: datetime) -> ClaimPlan:
    """The plan for one claim."""
    if seen.claim.metadata.deleting:
        return _leaving(seen, now)
    plan = _living(seen, now)
    if seen.account.kept and LEDGER_FINALIZER not in seen.claim.metadata.finalizers:
        return _held_first(seen, plan)
    return plan


def _held_first(seen: ObservedClaim, plan: ClaimPlan) -> ClaimPlan:
    """It is told nothing before our finalizer is on it: however soon it is deleted then, its story gets to its end."""
    hold, status = Hold(ref_of(seen)), seen.claim.status
    if any(isinstance(action, Provision) for action in plan.actions):
        # At the same time, since the agent needs as long for it; its answer is told once both are done.
        return replace(plan, actions=(hold, *plan.actions))
    if status.phase is None and plan.status is None and not plan.actions:
        return plan
    return Plan(actions=(hold,))


def _leaving(seen: ObservedClaim, now: datetime) -> ClaimPlan:
    """It is given back. It goes as soon as the ledger has all of its story; its instance is ended by its own passes."""
    if LEDGER_FINALIZER not in seen.claim.metadata.finalizers:
        return Plan()
    match seen.account.ending:
        case Ending.UNTOLD:
            return Plan(actions=(Conclude(ref_of(seen)),))
        case Ending.SAFE:
            return Plan(actions=(LetGo(ref_of(seen)),))
        case Ending.TOLD:
            quiet = seen.account.quiet(now)
            if quiet > 0 or seen.claim.status.phase is None:
                return Plan(look_again_in=max(quiet, AWAITED_SECONDS))
            old, message = seen.claim.status, f"it is given back, but {seen.account.waits}"
            return Plan(
                status=claim_status(seen, old.phase, False, "AwaitingLedger", message, now, instance=old.instance)
            )
        case _:
            assert_never(seen.account.ending)


def _living(seen: ObservedClaim, now: datetime) -> ClaimPlan:
    claim, status = seen.claim, seen.claim.status
    if status.phase is not None and status.phase.ended:
        return Plan()
    expires = expiry(claim, seen.pool)
    if expires is not None and now >= expires:
        return ended(seen, ClaimPhase.EXPIRED, "LifetimeOver", "its lifetime is over; the agent is destroyed", now)
    if seen.rivals and not too_late(seen, now):
        plan = _among_rivals(seen, now)
    elif seen.assigned is not None and not seen.assigned.deleting:
        plan = _with_instance(seen, seen.assigned, now)
    elif status.phase is not None and status.phase.provisioned:
        message = f"its instance {status.instance} was deleted; create another claim for another agent"
        plan = ended(seen, ClaimPhase.EVICTED, "InstanceDeleted", message, now)
    else:
        plan = _without_instance(seen, now)
    left = (expires - now).total_seconds() if expires else None
    return replace(plan, look_again_in=soonest(plan.look_again_in, left))


def _with_instance(seen: ObservedClaim, instance: Assigned, now: datetime) -> ClaimPlan:
    status, phase = seen.claim.status, seen.claim.status.phase
    if phase is ClaimPhase.BOUND:
        return _bound(seen, instance, now)
    if phase is ClaimPhase.PENDING_ACCEPTANCE:
        return _awaiting_acceptance(seen, instance, now)
    if phase is ClaimPhase.PENDING and status.instance == instance.ref.name:
        # It is on record as retired, and its deletion failed or was lost: nothing that it says counts any more.
        return Plan(actions=(Delete(instance.ref, "Retired", status.message or ""),))
    outcome = seen.outcome if seen.outcome and seen.outcome.instance_uid == instance.ref.uid else None
    if outcome is not None and outcome.kind == "done":
        return _provisioned(seen, instance, outcome, now)
    if instance.crashed is not None:
        return _retire(seen, instance, "InstanceCrashed", instance.crashed, now)
    if outcome is not None and outcome.kind == "refused":
        return ended(seen, ClaimPhase.FAILED, outcome.reason, outcome.message, now, instance.ref.name)
    if outcome is not None and outcome.kind == "unfit":
        return _retire(seen, instance, outcome.reason, outcome.message, now)
    if too_late(seen, now):
        return _bind_timeout(seen, now)
    return _provision(seen, instance, outcome, now)


def _among_rivals(seen: ObservedClaim, now: datetime) -> ClaimPlan:
    """Whoever asked one of them is gone: were it not found out which, the claim could get a second conversation."""
    due = 0.0 if seen.asked_at is None else ACCEPTANCE_SECONDS - (now - seen.asked_at).total_seconds()
    if due > 0:
        return Plan(look_again_in=due)
    asked = tuple((each.ref, each.url) for each in seen.rivals if each.url is not None)
    return Plan(actions=(AskRivals(ref_of(seen), asked),))


def _provision(seen: ObservedClaim, instance: Assigned, outcome: ProvisionOutcome | None, now: datetime) -> ClaimPlan:
    if instance.url is None:
        return _retire(seen, instance, "InstanceUnreachable", "the instance has no address", now)
    if seen.account.unrecorded is not None:
        return _unrecorded(seen, instance, seen.account.unrecorded, now)
    order = Provision(claim=ref_of(seen), instance=instance.ref, url=instance.url)
    if outcome is None:
        return Plan(actions=(order,))
    patience = seen.pool.provision_timeout_seconds if seen.pool else 30.0
    asked = outcome.kind == "transient"
    left = patience - (now - outcome.first_try_at).total_seconds() if asked else None
    if left is not None and left <= 0:
        why = f"it did not take up the conversation within {patience:g} s: {outcome.message}"
        return _retire(seen, instance, "ProvisionTimeout", why, now)
    pause = backoff(outcome.tries, limit=RETRY_SECONDS) if asked else backoff(outcome.tries)
    wait = pause - (now - outcome.at).total_seconds()
    if wait <= 0:
        return Plan(actions=(order,))
    waiting = f"instance {instance.ref.name} has not taken up the conversation yet: {outcome.message}"
    reason = outcome.reason or "Provisioning"
    status = claim_status(seen, ClaimPhase.BINDING, False, reason, waiting, now, instance=instance.ref.name)
    return Plan(status=status, look_again_in=soonest(wait, left, until_bind_deadline(seen, now)))


def _unrecorded(seen: ObservedClaim, instance: Assigned, why: str, now: datetime) -> ClaimPlan:
    """It has its instance, which is asked for nothing before the ledger has that on record."""
    silence = SILENT_SECONDS - (now - (seen.first_seen_at or now)).total_seconds()
    left = until_bind_deadline(seen, now)
    if silence > 0:
        return Plan(look_again_in=soonest(silence, left))
    status = claim_status(seen, ClaimPhase.BINDING, False, "AwaitingLedger", why, now, instance=instance.ref.name)
    return Plan(status=status, look_again_in=left)


def _provisioned(seen: ObservedClaim, instance: Assigned, outcome: ProvisionOutcome, now: datetime) -> ClaimPlan:
    phase = ClaimPhase.PENDING_ACCEPTANCE if outcome.pending else ClaimPhase.BOUND
    message = "waiting until somebody in the conversation accepts the agent" if outcome.pending else ""
    reason = "PendingAcceptance" if outcome.pending else "Bound"
    status = claim_status(seen, phase, not outcome.pending, reason, message, now, instance=instance.ref.name)
    status = status.model_copy(
        update={
            "invite_url": outcome.invite_url,
            "conversation_id": outcome.conversation_id,
            "joined": outcome.joined,
            "bound_at": None if outcome.pending else now,
        }
    )
    note = Note("Normal", reason, message or f"instance {instance.ref.name} took up the conversation")
    return Plan(status=status, notes=(note,), look_again_in=ACCEPTANCE_SECONDS if outcome.pending else None)


def _awaiting_acceptance(seen: ObservedClaim, instance: Assigned, now: datetime) -> ClaimPlan:
    if instance.crashed is not None:
        return _retire(seen, instance, "InstanceCrashed", instance.crashed, now)
    if seen.accepted_conversation is not None:
        status = claim_status(seen, ClaimPhase.BOUND, True, "Bound", "", now, instance=instance.ref.name)
        update = {"conversation_id": seen.accepted_conversation, "joined": True, "bound_at": now}
        note = Note("Normal", "Accepted", f"instance {instance.ref.name} was accepted into the conversation")
        return Plan(status=status.model_copy(update=update), notes=(note,))
    if too_late(seen, now):
        return _bind_timeout(seen, now)
    due = 0.0 if seen.asked_at is None else ACCEPTANCE_SECONDS - (now - seen.asked_at).total_seconds()
    if due > 0 or instance.url is None:
        return Plan(look_again_in=max(due, ACCEPTANCE_SECONDS / 2))
    return Plan(actions=(AskAcceptance(ref_of(seen), instance.ref, instance.url),))


def _bound(seen: ObservedClaim, instance: Assigned, now: datetime) -> ClaimPlan:
    """Keep Ready honest: a claim is not ready while its agent is dead, and never rebound behind its owner's back."""
    if instance.crashed is not None:
        message = f"its agent is not well: {instance.crashed}; delete the claim to give it back"
        ready, reason = False, "InstanceCrashed"
    else:
        ready, reason, message = True, "Bound", ""
    status = claim_status(seen, ClaimPhase.BOUND, ready, reason, message, now, instance=instance.ref.name)
    notes = (Note("Warning", "InstanceCrashed", status.message or ""),) if instance.crashed else ()
    return Plan(status=status, notes=notes if status != seen.claim.status else ())


def _retire(seen: ObservedClaim, instance: Assigned, reason: str, why: str, now: datetime) -> ClaimPlan:
    """Destroy an instance that provision may have touched; the claim is bound anew, and says so."""
    attempts = (seen.claim.status.attempts or 0) + 1
    if attempts >= MAX_ATTEMPTS:
        message = f"{attempts} instances in a row could not take up the conversation; the last one: {why}"
        return ended(seen, ClaimPhase.FAILED, reason, message, now, instance.ref.name, attempts=attempts)
    message = f"instance {instance.ref.name} is destroyed and another one is taken: {why}"
    status = claim_status(seen, ClaimPhase.PENDING, False, reason, message, now, instance=instance.ref.name)
    promised = {"invite_url": None, "conversation_id": None, "joined": None}
    status = status.model_copy(update=promised | {"attempts": attempts})
    note = Note("Warning", "Rebinding", message)
    return Plan(actions=(Delete(instance.ref, reason, why),), status=status, notes=(note,))


def _without_instance(seen: ObservedClaim, now: datetime) -> ClaimPlan:
    claim, pool = seen.claim, seen.pool
    if seen.being_bound:
        return Plan(look_again_in=SILENT_SECONDS)  # the write may fail, and then nothing else names this claim
    misled = wrong_network(claim.spec.join_url, claim.spec.pool, pool.lives_in) if pool is not None else None
    if misled is not None:
        return ended(seen, ClaimPhase.FAILED, "WrongNetwork", misled, now)
    if seen.rejection is not None:
        return ended(seen, ClaimPhase.FAILED, seen.rejection.reason, seen.rejection.message, now)
    if too_late(seen, now):
        return _bind_timeout(seen, now)
    left = until_bind_deadline(seen, now)
    if pool is None:
        message = f"there is no AgentPool {claim.spec.pool} in this namespace: create it, or delete the claim"
        status = claim_status(seen, ClaimPhase.PENDING, False, "PoolNotFound", message, now)
        return Plan(status=status, look_again_in=left)
    silence = SILENT_SECONDS - (now - (seen.first_seen_at or now)).total_seconds()
    if (pool.has_idle or not pool.queues) and silence > 0 and claim.status.phase is None:
        return Plan(look_again_in=soonest(silence, left))
    reason, why = ("AwaitingLedger", pool.barrier) if pool.barrier is not None else ("Queued", pool.why_empty)
    status = claim_status(seen, ClaimPhase.PENDING, False, reason, why, now)
    status = status.model_copy(update={"queue_position": seen.queue_position})
    before = claim.status.queue_position
    if seen.status_written_at is not None and before is not None and status.queue_position != before:
        often = max(POSITION_SECONDS, float(status.queue_position or 0))
        quiet = often - (now - seen.status_written_at).total_seconds()
        if quiet > 0:
            return Plan(status=status.model_copy(update={"queue_position": before}), look_again_in=soonest(quiet, left))
    return Plan(status=status, look_again_in=left)


def _bind_timeout(seen: ObservedClaim, now: datetime) -> ClaimPlan:
    waited = seen.claim.status.message or "no instance became idle"
    message = f"it was not bound in time ({waited}); raise bindTimeoutSeconds or the pool's minIdle and claim again"
    return ended(seen, ClaimPhase.FAILED, "BindTimeout", message, now)
