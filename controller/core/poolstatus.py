"""The status of a pool: its counts, and the conditions that say why."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

from controller.core.breaker import Breaker
from controller.core.conditions import assert_condition
from controller.model import POOL_LABEL, AgentPool, BreakerState, Condition, PoolStatus

if TYPE_CHECKING:
    from controller.core.pool import ObservedPool


def pool_status(
    seen: "ObservedPool", pool: AgentPool, breaker: Breaker, queued: int, blocked: str | None, now: datetime
) -> PoolStatus:
    """The whole status of the pool."""
    states = Counter(str(member.state) for member in seen.members)
    idle = states["Idle"] + states["Suspect"]
    current = sum(
        1
        for member in seen.members
        if member.template_hash == seen.template_hash and str(member.state) in {"Idle", "Suspect", "Starting"}
    )
    outdated = idle + states["Starting"] - current
    trouble = next((m.trouble for m in seen.members if m.trouble and str(m.state) == "Starting"), "")
    conditions = _conditions(seen, pool, breaker, idle, outdated, blocked, trouble, now)
    return PoolStatus(
        observed_generation=pool.metadata.generation,
        idle=idle,
        starting=states["Starting"],
        claimed=states["Claimed"],
        crashed=states["Crashed"],
        terminating=states["Terminating"],
        total=len(seen.members),
        waiting_claims=queued,
        template_hash=seen.template_hash,
        updated=current,
        selector=f"{POOL_LABEL}={seen.key[1]}",
        circuit_breaker=breaker.status(),
        conditions=conditions,
    )


def _conditions(
    seen: "ObservedPool",
    pool: AgentPool,
    breaker: Breaker,
    idle: int,
    outdated: int,
    blocked: str | None,
    trouble: str,
    now: datetime,
) -> tuple[Condition, ...]:
    before, generation = pool.status.conditions, pool.metadata.generation
    facts = (
        ("Ready", *_ready(pool, idle)),
        ("Progressing", *_progressing(pool, idle, outdated, blocked)),
        ("Degraded", *_degraded(seen, breaker, blocked, trouble)),
        ("BackendAvailable", seen.backend.available, seen.backend.reason, seen.backend.message),
    )
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


def _progressing(pool: AgentPool, idle: int, outdated: int, blocked: str | None) -> tuple[bool, str, str]:
    if pool.spec.paused:
        return False, "Paused", "the pool is paused: set spec.paused to false to go on"
    if outdated > 0 and pool.spec.rollout.strategy == "RollingUpdate":
        return True, "RollingOut", blocked or "outdated instances are being replaced"
    if idle < pool.spec.min_idle:
        return True, "ScalingUp", blocked or "instances are being started"
    if idle > pool.spec.min_idle:
        return True, "ScalingDown", "more instances are warm than minIdle asks for"
    return False, "AtRest", ""


def _degraded(seen: "ObservedPool", breaker: Breaker, blocked: str | None, trouble: str) -> tuple[bool, str, str]:
    last = breaker.last_failure
    if breaker.state is BreakerState.OPEN:
        return True, "CircuitOpen", f"{breaker.failures} launches in a row failed, so launching is put off: {last}"
    if breaker.state is BreakerState.HALF_OPEN:
        return True, "CircuitHalfOpen", f"one instance is launched to see whether it works again; last failure: {last}"
    if not seen.backend.available:
        return True, seen.backend.reason, seen.backend.message
    if trouble:
        return True, "LaunchBlocked", trouble
    if breaker.failures:
        return True, "LaunchesFail", last
    if blocked is not None:
        return True, "Exhausted", blocked
    return False, "AsExpected", ""
