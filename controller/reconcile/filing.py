"""How objects are filed in the view: an instance as a member of its pool, a claim as one that waits for an instance."""

from datetime import UTC, datetime

from controller.core.instancestatus import DRIFTED
from controller.core.invite import wrong_network
from controller.core.members import Member, MemberState
from controller.core.plan import Ref
from controller.core.pool import Waiting
from controller.core.startup import ORDINARY
from controller.model import AgentClaim, AgentInstance, AgentPool, InstancePhase, condition_of

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def member_of(instance: AgentInstance, state: MemberState, *, claimed: bool) -> Member:
    """The instance as its pool counts it."""
    meta, spec, status = instance.metadata, instance.spec, instance.status
    ready, drifted = condition_of(status.conditions, "Ready"), condition_of(status.conditions, DRIFTED)
    trouble = ready.message if ready is not None and ready.status != "True" else ""
    crashed = status.phase is InstancePhase.CRASHED
    quiet = not crashed and ready is not None and ready.reason in ORDINARY
    return Member(
        ref=Ref(meta.namespace, meta.name, meta.uid),
        version=meta.version,
        state=state,
        template_hash=spec.template_hash,
        ready_at=status.ready_at,
        created=meta.creation_timestamp,
        claimed=claimed,
        trouble="" if quiet else trouble,
        drift=drifted.message if drifted is not None and drifted.status == "True" else "",
        pool_uid=spec.pool_uid,
        crashed_at=ready.last_transition_time if ready is not None and crashed else None,
    )


def waiting_of(claim: AgentClaim, order: int) -> Waiting:
    """The claim as its pool serves it."""
    return Waiting(
        ref=Ref(claim.metadata.namespace, claim.metadata.name, claim.metadata.uid),
        priority=claim.spec.priority,
        created=claim.metadata.creation_timestamp or _BEGINNING,
        order=order,
        agent_name=claim.spec.agent_name,
    )


def is_misled(claim: AgentClaim, pool: AgentPool | None) -> bool:
    """Whether its invite link is one of another network than its pool's: it never gets an instance."""
    if pool is None:
        return False
    return wrong_network(claim.spec.join_url, pool.metadata.name, pool.spec.template.lives_in) is not None


def lives_elsewhere(instance: AgentInstance, pool: AgentPool | None) -> bool:
    """Whether its agent lives in another network than its pool's agents do by now: no claim on the pool is for it."""
    there = pool.spec.template.lives_in if pool is not None else None
    return there is not None and instance.spec.template.lives_in not in {None, there}
