"""What happens within one pool: bind, reject, replace, launch, scale down, roll out; and the status that says so."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.core.breaker import PROVEN_SECONDS, Breaker
from controller.core.plan import Bind, Create, Delete, Plan, PoolAction, Ref, Reject, soonest
from controller.core.poolstatus import pool_status
from controller.core.rollout import Warm, roll_out
from controller.model import AgentPool, PoolStatus, WhenEmpty


class MemberState(StrEnum):
    """One instance as its pool counts it; every instance is in exactly one of these."""

    STARTING = "Starting"
    IDLE = "Idle"
    SUSPECT = "Suspect"
    CLAIMED = "Claimed"
    CRASHED = "Crashed"
    TERMINATING = "Terminating"


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of the pool, writes in flight included."""

    ref: Ref
    version: int
    state: MemberState
    template_hash: str
    ready_at: datetime | None = None
    created: datetime | None = None
    claimed: bool = False
    trouble: str = ""
    """Why it does not start, or why it crashed."""
    pending_create: bool = False
    """The request that creates it is still under way: it cannot be acted on yet."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One claim that has no instance."""

    ref: Ref
    priority: int
    created: datetime
    order: int
    """Counts up in the order in which the controller learned of claims: breaks ties within a second."""
    agent_name: str


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """Whether the pool's backend can be used."""

    available: bool = True
    reason: str = "Available"
    message: str = ""


@dataclass(frozen=True, slots=True)
class ObservedPool:
    """Everything that the decision on one pool rests on."""

    key: tuple[str, str]
    pool: AgentPool | None
    template_hash: str = ""
    members: tuple[Member, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    """In the order in which they are to be served."""
    backend: BackendHealth = BackendHealth()
    breaker: Breaker = field(default_factory=Breaker)


PoolPlan = Plan[PoolAction, PoolStatus]


def serve_order(claims: Iterable[Waiting]) -> tuple[Waiting, ...]:
    """Higher priority first, then first come."""
    return tuple(sorted(claims, key=lambda claim: (-claim.priority, claim.created, claim.order)))


def decide(seen: ObservedPool, now: datetime) -> PoolPlan:
    """The plan for one pool."""
    if seen.pool is None or seen.pool.metadata.deleting:
        return Plan()
    pool, spec = seen.pool, seen.pool.spec
    binds, bound = _bind(seen)
    unserved = seen.waiting[len(binds) :]
    rejects = _reject(pool, unserved)
    queued = 0 if rejects else len(unserved)
    crashed = [] if spec.paused else _replace_crashed(seen)
    breaker = _judge(seen, pool, crashed, now)
    gone = {action.instance.uid for action in crashed} | bound
    warm = tuple(member for member in seen.members if _is_warm(member) and member.ref.uid not in gone)
    changes, blocked = _resize(seen, pool, breaker, warm, queued)
    actions: tuple[PoolAction, ...] = (*binds, *rejects, *crashed, *changes)
    status = pool_status(seen, pool, breaker, queued, blocked, now)
    return Plan(actions=actions, status=status, look_again_in=soonest(breaker.changes_in(now)))


def _is_warm(member: Member) -> bool:
    return member.state in {MemberState.STARTING, MemberState.IDLE, MemberState.SUSPECT}


def _bind(seen: ObservedPool) -> tuple[list[Bind], set[str]]:
    """The longest-idle healthy instances for the first claims; up-to-date ones before outdated ones."""
    if not seen.waiting:
        return [], set()
    idle = [member for member in seen.members if member.state is MemberState.IDLE]
    idle.sort(key=lambda m: (m.template_hash != seen.template_hash, m.ready_at or datetime.max, m.ref.name))
    pairs = list(zip(idle, seen.waiting, strict=False))
    binds = [Bind(member.ref, member.version, claim.ref, claim.agent_name) for member, claim in pairs]
    return binds, {member.ref.uid for member, _ in pairs}


def _reject(pool: AgentPool, unserved: tuple[Waiting, ...]) -> list[Reject]:
    if pool.spec.claims.when_empty is not WhenEmpty.FAIL:
        return []
    message = (
        f"pool {pool.metadata.name} has no idle instance and its claims.whenEmpty is Fail; claim again later, raise "
        "minIdle, or set whenEmpty to Queue"
    )
    return [Reject(claim.ref, "NoIdleInstance", message) for claim in unserved]


def _replace_crashed(seen: ObservedPool) -> list[Delete]:
    """Crashed instances that nobody holds make room at once; claimed ones stay until their claim is given back."""
    return [
        Delete(member.ref, "Crashed", member.trouble)
        for member in seen.members
        if member.state is MemberState.CRASHED and not member.claimed
    ]


def _judge(seen: ObservedPool, pool: AgentPool, crashed: list[Delete], now: datetime) -> Breaker:
    """Count the launches that failed: instances that die before they are ready, or soon after."""
    breaker, dead = seen.breaker, {action.instance.uid for action in crashed}
    for member in seen.members:
        lived = (now - member.ready_at).total_seconds() if member.ready_at is not None else 0.0
        if member.ref.uid in dead and lived < PROVEN_SECONDS:
            breaker = breaker.failed(pool.spec.circuit_breaker, member.trouble, now)
    healthy = {MemberState.IDLE, MemberState.CLAIMED}
    ready_since = [m.ready_at for m in seen.members if m.ready_at is not None and m.state in healthy]
    return breaker.settle(pool.spec.circuit_breaker, ready_since, now)


def _resize(
    seen: ObservedPool, pool: AgentPool, breaker: Breaker, warm: tuple[Member, ...], queued: int
) -> tuple[list[PoolAction], str | None]:
    """Launch, scale down and roll out; and a sentence on what keeps the pool from its size, if anything does."""
    spec = pool.spec
    if spec.paused:
        return [], None
    stock = Warm(
        outdated_starting=_named(warm, MemberState.STARTING, seen.template_hash, current=False),
        outdated_idle=_named(warm, MemberState.IDLE, seen.template_hash, current=False),
        current_starting=_named(warm, MemberState.STARTING, seen.template_hash, current=True),
        current_idle=_named(warm, MemberState.IDLE, seen.template_hash, current=True),
    )
    room = spec.max_total - len(seen.members)
    steps = roll_out(spec.rollout, stock, spec.min_idle + queued, spec.min_idle, room)
    allowed = breaker.allowance(steps.launches, starting=len(stock.current_starting)) if seen.backend.available else 0
    deletes = [
        Delete(member.ref, reason, message)
        for group, reason, message in (
            (steps.outdated, "Outdated", "it was built from an old template"),
            (steps.surplus, "ScaledDown", f"more are warm than minIdle ({spec.min_idle})"),
        )
        for member in group
        if not member.pending_create
    ]
    reason = "claims are waiting" if queued else "fewer are warm than minIdle"
    pool_ref = Ref(seen.key[0], seen.key[1], pool.metadata.uid)
    return [*deletes, *(Create(pool_ref, seen.template_hash, reason) for _ in range(allowed))], steps.blocked


def _named(members: tuple[Member, ...], state: MemberState, current_hash: str, *, current: bool) -> tuple[Member, ...]:
    """Members in that state, the newest first: those are the first to go when the pool shrinks."""
    states = {MemberState.IDLE, MemberState.SUSPECT} if state is MemberState.IDLE else {state}
    chosen = [m for m in members if m.state in states and (m.template_hash == current_hash) is current]
    return tuple(sorted(chosen, key=lambda m: (m.created is None, m.created or datetime.max, m.ref.name), reverse=True))
