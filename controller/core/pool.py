"""What happens within one pool: bind, reject, replace, launch, scale down, roll out; and the status that says so."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.core.account import LedgerHealth
from controller.core.breaker import PROVEN_SECONDS, Breaker
from controller.core.members import Census, Member, MemberState
from controller.core.plan import Bind, Create, Delete, Plan, PoolAction, Ref, Reject, soonest
from controller.core.poolstatus import pool_status
from controller.core.rollout import Warm, roll_out
from controller.model import AgentPool, PoolStatus, WhenEmpty

_UNDATED = datetime.max.replace(tzinfo=UTC)


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
    since: datetime | None = None
    """When it came back from its last outage: what was made before may have died of it."""


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
    ledger: LedgerHealth | None = None
    """How the ledger is, where there is one."""
    barrier: str | None = None
    """Why no claim is given an instance now, in a sentence: the ledger is strict, and cannot record it."""
    counted: frozenset[str] = frozenset()
    """Crashed instances whose failure the breaker has counted: one whose deletion failed is seen again."""


PoolPlan = Plan[PoolAction, PoolStatus]


def serve_order(claims: Iterable[Waiting]) -> tuple[Waiting, ...]:
    """Higher priority first, then first come."""
    return tuple(sorted(claims, key=lambda claim: (-claim.priority, claim.created, claim.order)))


def decide(seen: ObservedPool, now: datetime) -> PoolPlan:
    """The plan for one pool."""
    if seen.pool is None or seen.pool.metadata.deleting:
        return Plan()
    pool, spec = seen.pool, seen.pool.spec
    binds: list[Bind] = []
    if seen.waiting and seen.barrier is None:
        healthy = [member for member in seen.members if member.state is MemberState.IDLE]
        binds = bind(healthy, seen.waiting, seen.template_hash)
    census = Census.take(seen.members, {action.instance.uid for action in binds})
    unserved = seen.waiting[len(binds) :]
    rejects = _reject(pool, unserved, seen.barrier)
    queued = 0 if rejects else len(unserved)
    # Those that only wait for the ledger have their instances already.
    short = queued if seen.barrier is None else max(0, queued - len(census.idle))
    crashed = [] if spec.paused else _replace_crashed(census)
    breaker = _judge(seen, pool, census, crashed, now)
    changes, blocked = _resize(seen, pool, breaker, census, short)
    status = pool_status(seen, pool, census, breaker, queued, blocked, now)
    actions: tuple[PoolAction, ...] = (*binds, *rejects, *crashed, *changes)
    return Plan(actions=actions, status=status, look_again_in=soonest(breaker.changes_in(now)))


def bind(idle: Iterable[Member], waiting: tuple[Waiting, ...], template_hash: str) -> list[Bind]:
    """The longest-idle healthy instances for the first claims; up-to-date ones before outdated ones."""
    if not waiting:
        return []
    first = heapq.nsmallest(
        len(waiting), idle, key=lambda m: (not m.is_current(template_hash), m.ready_at or _UNDATED, m.ref.name)
    )
    pairs = zip(first, waiting, strict=False)
    return [Bind(member.ref, member.version, claim.ref, claim.agent_name) for member, claim in pairs]


def _reject(pool: AgentPool, unserved: tuple[Waiting, ...], barrier: str | None) -> list[Reject]:
    if pool.spec.claims.when_empty is not WhenEmpty.FAIL:
        return []
    if barrier is not None:
        why = f"pool {pool.metadata.name} lets no claim wait (claims.whenEmpty is Fail), and {barrier}"
        return [Reject(claim.ref, "LedgerUnavailable", why) for claim in unserved]
    message = (
        f"pool {pool.metadata.name} has no idle instance and its claims.whenEmpty is Fail; claim again later, raise "
        "minIdle, or set whenEmpty to Queue"
    )
    return [Reject(claim.ref, "NoIdleInstance", message) for claim in unserved]


def _replace_crashed(census: Census) -> list[Delete]:
    """Crashed instances that nobody holds make room at once; claimed ones stay until their claim is given back."""
    return [
        Delete(member.ref, "Crashed", member.trouble, member.version) for member in census.crashed if not member.claimed
    ]


def _judge(seen: ObservedPool, pool: AgentPool, census: Census, crashed: list[Delete], now: datetime) -> Breaker:
    """Count the launches that failed: instances that die before they are ready, or soon after."""
    # What failed with an old template says nothing about the new one.
    changed = pool.status.template_hash not in {None, seen.template_hash}
    before = Breaker() if changed else seen.breaker
    breaker, dead = before, {action.instance.uid for action in crashed if not changed}
    for member in sorted(census.crashed, key=lambda m: m.crashed_at or now):
        crashed_at = member.crashed_at or now
        lived = (crashed_at - member.ready_at).total_seconds() if member.ready_at is not None else 0.0
        if _died_of_an_outage(member, seen.backend):
            continue
        if member.ref.uid in dead and lived < PROVEN_SECONDS and member.ref.uid not in seen.counted:
            breaker = breaker.failed(pool.spec.circuit_breaker, member.trouble, now)
    if not seen.backend.available:
        return breaker.tripped(seen.backend.message, now)
    breaker = breaker.recovered(pool.spec.circuit_breaker)
    if breaker.last_failure_at is None:
        return breaker
    ready_since = [m.ready_at for m in (*census.idle, *census.claimed) if m.ready_at is not None]
    starting_since = [m.created or now for m in census.starting if m.is_current(seen.template_hash)]
    return breaker.settle(pool.spec.circuit_breaker, ready_since, now, starting_since=starting_since)


def _died_of_an_outage(member: Member, backend: BackendHealth) -> bool:
    """Whether its death says nothing about launches: an engine that is restarted may take all its instances along."""
    return backend.since is not None and member.created is not None and member.created <= backend.since


def _resize(
    seen: ObservedPool, pool: AgentPool, breaker: Breaker, census: Census, queued: int
) -> tuple[list[PoolAction], str | None]:
    """Launch, scale down and roll out; and a sentence on what keeps the pool from its size, if anything does."""
    spec = pool.spec
    if spec.paused:
        return [], None
    current_starting, outdated_starting = _by_template(census.starting, seen.template_hash)
    current_idle, outdated_idle = _by_template(census.idle, seen.template_hash)
    stock = Warm(outdated_starting, outdated_idle, current_starting, current_idle)
    # What is claimed stays; warm ones share what maxTotal leaves, and go when it is lowered.
    limit = max(0, spec.max_total - len(census.claimed) - len(census.crashed))
    wish = spec.min_idle + queued
    room = spec.max_total - len(seen.members)
    steps = roll_out(spec.rollout, stock, min(wish, limit), min(spec.min_idle, limit), room)
    allowed = breaker.allowance(steps.launches) if seen.backend.available else 0
    surplus = "ScaledDown", f"more are warm than minIdle ({spec.min_idle})"
    deletes = [
        Delete(member.ref, *why, member.version)
        for member, why in (
            *((member, _why_outdated(member, seen.template_hash)) for member in steps.outdated),
            *((member, surplus) for member in steps.surplus),
        )
        if not member.pending_create
    ]
    reason = "claims are waiting" if queued else "fewer are warm than minIdle"
    pool_ref = Ref(seen.key[0], seen.key[1], pool.metadata.uid)
    creates = [Create(pool_ref, seen.template_hash, reason) for _ in range(allowed)]
    return [*deletes, *creates], _blocked(wish - limit, steps.blocked)


def _blocked(missing: int, rollout: str | None) -> str | None:
    """What maxTotal stands in the way of: both, where it is both."""
    exhausted = f"{missing} more are wanted than maxTotal allows: raise maxTotal or delete claims"
    return "; ".join(why for why in (exhausted if missing > 0 else None, rollout) if why is not None) or None


def _why_outdated(member: Member, template_hash: str) -> tuple[str, str]:
    if member.template_hash != template_hash:
        return "Outdated", "it was built from an old template"
    return "Drifted", member.drift


def _by_template(members: list[Member], current_hash: str) -> tuple[list[Member], list[Member]]:
    """Those that are what a new one would be, and the outdated ones."""
    current = [member for member in members if member.is_current(current_hash)]
    if len(current) == len(members):
        return current, []
    return current, [member for member in members if not member.is_current(current_hash)]
