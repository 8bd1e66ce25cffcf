"""What happens to one instance: it starts, is checked, is found dead, is ended."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never
from zlib import crc32

from controller.core import startup
from controller.core.account import Account, Ending
from controller.core.instancestatus import InstancePlan, crash, instance_status, ref_of, told_of_drift
from controller.core.plan import (
    Conclude,
    Delete,
    InstanceAction,
    Pause,
    Plan,
    Probe,
    Release,
    Rename,
    Resume,
    Terminate,
)
from controller.core.stages import UNFINISHED, Stage
from controller.core.tokens import SETTLED, TokenFact, kept
from controller.model import FINALIZER, AgentInstance, InstancePhase, condition_of

LOOK_AT_REMOTE_SECONDS = 5.0
"""How often the backend is asked again whether a stopping remote is gone, besides its own hints."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How the pool wants its instances probed and checked."""

    deadline_seconds: float = 300.0
    build_deadline_seconds: float = 1800.0
    deploy_deadline_seconds: float = 600.0
    probe_seconds: float = 0.5
    check_seconds: float = 30.0
    failure_threshold: int = 3
    pause_idle: bool = False
    """Whether idle instances wait frozen."""


@dataclass(frozen=True, slots=True)
class RemoteFact:
    """What the backend says of the remote."""

    backend_id: str
    url: str | None
    exited: str | None = None
    """Why it exited; ``None`` while it runs, or while nothing certain is known."""
    paused: bool = False
    """It is frozen, and answers nobody."""
    anonymous: bool = False
    """It does not yet show whose it is."""
    stage: Stage = Stage.RUNNING
    since: datetime | None = None
    """When it came into its stage, as far as anybody knows."""
    told: str = ""
    """What the backend says of the stage, in a sentence."""
    drift: str = ""
    """How somebody changed it at the backend, in a sentence."""


@dataclass(frozen=True, slots=True)
class ProbeFact:
    """The probes since the last success."""

    at: datetime
    ready: bool
    failures: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LaunchTrouble:
    """The backend did not launch it."""

    at: datetime
    tries: int
    reason: str
    message: str
    final: bool = False
    """The backend will never launch this order as it stands."""
    retry_after: float = 0.0
    """Seconds for which the backend wishes not to be asked again."""


@dataclass(frozen=True, slots=True)
class ClaimFact:
    """The claim that the instance belongs to, as far as it matters here."""

    over: str | None = None
    """Why the instance is needed no more: the claim is gone or has ended."""
    bound_at: datetime | None = None
    conversation_id: str | None = None
    provisioned: bool = False


@dataclass(frozen=True, slots=True)
class ObservedInstance:
    """Everything that the decision on one instance rests on."""

    instance: AgentInstance
    timing: Timing = Timing()
    pool_gone: bool = False
    claim: ClaimFact | None = None
    remote: RemoteFact | None = None
    remote_known: bool = True
    """Whether the backend's picture can be trusted to say that there is no remote."""
    remote_gone: bool = False
    """The backend has said that nothing of the remote is left."""
    terminate_asked_at: datetime | None = None
    probe: ProbeFact | None = None
    trouble: LaunchTrouble | None = None
    first_seen_at: datetime | None = None
    """When this controller first looked at it."""
    suspect: bool = False
    """It is in doubt, and is not handed out until a probe finds it ready."""
    account: Account = field(default_factory=Account)
    """What the ledger has of it."""
    replaced_on_delete: bool = False
    """Its pool leaves an instance that is not what a new one would be until it is claimed or deleted."""
    token: TokenFact = SETTLED


def decide(seen: ObservedInstance, now: datetime) -> InstancePlan:
    """The plan for one instance."""
    instance = seen.instance
    if instance.metadata.deleting:
        return _ending(seen, now)
    if seen.pool_gone:
        return _delete(seen, "PoolDeleted", f"its pool {instance.spec.pool} was deleted")
    if seen.claim is not None and seen.claim.over is not None:
        return _delete(seen, "ClaimEnded", seen.claim.over)
    if instance.status.phase in {None, InstancePhase.STARTING}:
        return kept(seen, startup.start(seen, now), now)
    return kept(seen, told_of_drift(seen, _running(seen, now)), now)


def _ending(seen: ObservedInstance, now: datetime) -> InstancePlan:
    if FINALIZER not in seen.instance.metadata.finalizers:
        return Plan()
    if seen.remote_gone:
        return _closing(seen, now)
    asked = seen.terminate_asked_at
    wait = 0.0 if asked is None else LOOK_AT_REMOTE_SECONDS - (now - asked).total_seconds()
    if wait <= 0:
        return Plan(actions=(Terminate(ref_of(seen)),))
    status = instance_status(seen, InstancePhase.TERMINATING, False, "Terminating", "the backend is ending it", now)
    return Plan(status=status, look_again_in=wait)


def _closing(seen: ObservedInstance, now: datetime) -> InstancePlan:
    """Nothing of the remote is left: it goes as soon as the ledger has all of its story."""
    match seen.account.ending:
        case Ending.UNTOLD:
            return Plan(actions=(Conclude(ref_of(seen)),))
        case Ending.SAFE:
            return Plan(actions=(Release(ref_of(seen)),))
        case Ending.TOLD:
            quiet = seen.account.quiet(now)
            if quiet > 0:
                return Plan(look_again_in=quiet)
            message = f"nothing of it is left at the backend, but {seen.account.waits}"
            return Plan(status=instance_status(seen, InstancePhase.TERMINATING, False, "AwaitingLedger", message, now))
        case _:
            assert_never(seen.account.ending)


def _running(seen: ObservedInstance, now: datetime) -> InstancePlan:
    remote, status = seen.remote, seen.instance.status
    if status.phase is InstancePhase.CRASHED and status.ready_at is None:
        return Plan()  # it never was ready: its status says why, and the pool replaces it
    if remote is not None and remote.exited is not None:
        return crash(seen, "Exited", remote.exited, now)
    if remote is None and seen.remote_known:
        return crash(seen, "RemoteGone", "the backend has it no more", now)
    if remote is not None and remote.stage in UNFINISHED:
        return _begun_anew(seen, remote, now)
    probe, limit = seen.probe, seen.timing.failure_threshold
    if probe is not None and probe.failures >= limit:
        plan = crash(seen, "HealthCheckFailed", f"{limit} checks in a row failed: {probe.detail}", now)
    else:
        plan = _healthy(seen, now)
    url = remote.url if remote is not None else status.url
    if url is None:
        return plan
    if _is_left_alone(seen):
        return replace(plan, actions=_comfort(seen))
    wait = _until_check(seen, now)
    taken = seen.instance.spec.claim_ref is not None
    if remote is not None and remote.paused and (wait <= 0 or taken or not seen.timing.pause_idle):
        return Plan(actions=(Resume(ref_of(seen)),))
    if wait <= 0:
        return Plan(actions=(Probe(ref_of(seen), url),))
    return replace(plan, actions=_comfort(seen), look_again_in=wait)


def _begun_anew(seen: ObservedInstance, remote: RemoteFact, now: datetime) -> InstancePlan:
    """Somebody has the backend build or deploy it once more: what answers now is about to be replaced, so nothing is
    asked. An idle one is not handed out meanwhile, and has as long for it as a new one; a claimed one is left to it."""
    if seen.instance.status.phase is not InstancePhase.IDLE or seen.instance.spec.claim_ref is not None:
        return replace(_healthy(seen, now), actions=_comfort(seen))
    term = startup.unfinished_term(seen, remote)
    if term.left(now) <= 0:
        return startup.missed(seen, remote, term, now)
    return replace(_healthy(seen, now), look_again_in=term.left(now))


def _is_left_alone(seen: ObservedInstance) -> bool:
    """Whether no probe goes to it: one would wake it, or, where the backend puts to sleep what has no traffic, keep it
    awake for ever. What was last known of it stands until the backend says that it has ended.

    What nobody knows to be well is asked all the same: an idle one in doubt, or it would never be handed out again,
    and a crashed one, or it would never be well again; but the latter only once others have woken it.
    """
    asleep = seen.remote is not None and seen.remote.stage is Stage.SLEEPING
    if not asleep and not seen.instance.spec.backend.sleeps:
        return False
    failing = seen.probe is not None and seen.probe.failures > 0
    match seen.instance.status.phase:
        case InstancePhase.IDLE:
            return not (seen.suspect or failing)
        case InstancePhase.CRASHED:
            return asleep
        case _:
            return asleep or not failing


def _comfort(seen: ObservedInstance) -> tuple[InstanceAction, ...]:
    """What is done to a healthy remote: an idle one rests, a claimed one shows whose it is."""
    remote, reference, phase = seen.remote, seen.instance.spec.claim_ref, seen.instance.status.phase
    if remote is None:
        return ()
    if reference is not None:
        served = remote.anonymous and phase is InstancePhase.CLAIMED
        return (Rename(ref_of(seen), reference.agent_name),) if served else ()
    # Only one that was just seen to be well is frozen: a frozen one cannot tell of its trouble.
    well = phase is InstancePhase.IDLE and seen.probe is not None and seen.probe.ready
    rests = seen.timing.pause_idle and well and not remote.paused
    return (Pause(ref_of(seen)),) if rests else ()


def _healthy(seen: ObservedInstance, now: datetime) -> InstancePlan:
    """Idle until its claim is bound; a crashed one whose agent answers again is what it was before."""
    claim, status = seen.claim, seen.instance.status
    if status.phase is InstancePhase.CRASHED and not _answers_again(seen):
        return Plan()
    if claim is None or not claim.provisioned:
        # A crashed one that nobody has is the pool's to replace; a claimed one whose claim lets go of it never
        # returns to idle, it is about to be deleted.
        leaving = status.phase in {InstancePhase.CRASHED, InstancePhase.CLAIMED}
        return Plan() if leaving else Plan(status=instance_status(seen, InstancePhase.IDLE, True, "Ready", "", now))
    update = {
        "claimed_at": status.claimed_at or claim.bound_at or now,
        "conversation_id": claim.conversation_id,
    }
    return Plan(status=instance_status(seen, InstancePhase.CLAIMED, True, "Claimed", "", now).model_copy(update=update))


def _answers_again(seen: ObservedInstance) -> bool:
    """Whether a probe found it ready after it crashed: one from before says nothing."""
    failed, probe = condition_of(seen.instance.status.conditions, "Ready"), seen.probe
    since = failed.last_transition_time if failed is not None else None
    return probe is not None and probe.ready and (since is None or probe.at > since)


def _until_check(seen: ObservedInstance, now: datetime) -> float:
    interval, probe = seen.timing.check_seconds, seen.probe
    if seen.suspect and (probe is None or probe.ready):
        return 0.0  # another program has taken the place of the one that was asked
    if probe is None:
        # After a restart nothing is known of earlier checks: spread the first ones over the interval by uid,
        # so that a thousand instances are not asked at once.
        offset = crc32(seen.instance.metadata.uid.encode()) % 1000 / 1000 * interval
        return offset - (now - (seen.first_seen_at or now)).total_seconds()
    suspect = 0 < probe.failures < seen.timing.failure_threshold
    wait = min(interval, 1.0 + probe.failures) if suspect else interval
    return wait - (now - probe.at).total_seconds()


def _delete(seen: ObservedInstance, reason: str, message: str) -> InstancePlan:
    return Plan(actions=(Delete(ref_of(seen), reason, message),))
