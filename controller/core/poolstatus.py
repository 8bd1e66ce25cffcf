"""The status of a pool: its counts, and the conditions that say why."""

from datetime import datetime
from typing import TYPE_CHECKING

from controller.core.breaker import Breaker
from controller.core.conditions import assert_condition
from controller.core.members import Census
from controller.model import POOL_LABEL, AgentPool, BreakerState, Condition, PoolStatus

if TYPE_CHECKING:
    from controller.core.pool import ObservedPool


def pool_status(
    seen: "ObservedPool",
    pool: AgentPool,
    census: Census,
    breaker: Breaker,
    queued: int,
    blocked: str | None,
    now: datetime,
) -> PoolStatus:
    """The whole status of the pool."""
    idle, starting = len(census.idle), len(census.starting)
    current = sum(1 for group in (census.idle, census.starting) for m in group if m.is_current(seen.template_hash))
    trouble = next((member.trouble for member in census.starting if member.trouble), "")
    return PoolStatus(
        observed_generation=pool.metadata.generation,
        idle=idle,
        starting=starting,
        claimed=len(census.claimed),
        crashed=len(census.crashed),
        terminating=len(census.terminating),
        total=len(seen.members),
        waiting_claims=queued,
        template_hash=seen.template_hash,
        updated=current,
        selector=f"{POOL_LABEL}={seen.key[1]}",
        circuit_breaker=breaker.status(),
        conditions=_conditions(seen, pool, breaker, idle, starting, idle + starting - current, blocked, trouble, now),
    )


def _conditions(
    seen: "ObservedPool",
    pool: AgentPool,
    breaker: Breaker,
    idle: int,
    starting: int,
    outdated: int,
    blocked: str | None,
    trouble: str,
    now: datetime,
) -> tuple[Condition, ...]:
    before, generation = pool.status.conditions, pool.metadata.generation
    facts = [
        ("Ready", *_ready(pool, idle)),
        ("Progressing", *_progressing(pool, idle, starting, outdated, blocked)),
        ("Degraded", *_degraded(seen, breaker, blocked, trouble)),
        ("BackendAvailable", seen.backend.available, seen.backend.reason, seen.backend.message),
    ]
    if seen.ledger is not None:
        facts.append(("LedgerCurrent", seen.ledger.current, seen.ledger.reason, seen.ledger.message))
    return tuple(
        assert_condition(before, kind, holds, reason, message, now, generation)
        for kind, holds, reason, message in facts
    )


def _ready(pool: AgentPool, idle: int) -> tuple[bool, str, str]:
    wanted = pool.spec.min_idle
    if wanted == 0:
        return True, "OnDemand", "minIdle is 0: instances are launched for claims"
    if idle >= wanted:
        return True, "Warm", "as many instances are idle as minIdle asks for"
    if idle > 0:
        return True, "PartlyWarm", "some instances are idle, fewer than minIdle asks for"
    return False, "Empty", "no instance is idle"


def _progressing(
    pool: AgentPool, idle: int, starting: int, outdated: int, blocked: str | None
) -> tuple[bool, str, str]:
    if pool.spec.paused:
        return False, "Paused", "the pool is paused: set spec.paused to false to go on"
    if outdated > 0 and pool.spec.rollout.strategy == "RollingUpdate":
        return True, "RollingOut", blocked or "outdated instances are being replaced"
    if idle < pool.spec.min_idle or starting > 0:
        return True, "ScalingUp", blocked or "instances are being started"
    if idle > pool.spec.min_idle:
        return True, "ScalingDown", "more instances are warm than minIdle asks for"
    left = (
        f"{outdated} unclaimed instances are outdated or were changed at the backend, and are left until they are "
        "claimed or deleted, since rollout.strategy is OnDelete"
    )
    return False, "AtRest", left if outdated > 0 else ""


def _degraded(seen: "ObservedPool", breaker: Breaker, blocked: str | None, trouble: str) -> tuple[bool, str, str]:
    last = breaker.last_failure
    if not seen.backend.available:
        return True, seen.backend.reason, seen.backend.message
    if breaker.state is BreakerState.OPEN:
        return True, "CircuitOpen", f"{breaker.failures} launches in a row failed, so launching is put off: {last}"
    if breaker.state is BreakerState.HALF_OPEN:
        return (
            True,
            "CircuitHalfOpen",
            f"single instances are launched to see whether it works again; last failure: {last}",
        )
    if trouble:
        return True, "LaunchBlocked", trouble
    if breaker.failures:
        return True, "LaunchesFail", last
    if blocked is not None:
        return True, "Exhausted", blocked
    return False, "AsExpected", ""
