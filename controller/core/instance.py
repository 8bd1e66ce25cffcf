"""What happens to one instance: launch, probe until ready, check, notice death, terminate."""

from dataclasses import dataclass, replace
from datetime import datetime
from zlib import crc32

from controller.core.backoff import backoff
from controller.core.conditions import assert_condition
from controller.core.plan import (
    Delete,
    InstanceAction,
    Launch,
    Note,
    Pause,
    Plan,
    Probe,
    Ref,
    Release,
    Rename,
    Resume,
    Terminate,
    soonest,
)
from controller.model import FINALIZER, AgentInstance, InstancePhase, InstanceStatus, condition_of

LOOK_AT_REMOTE_SECONDS = 5.0
"""How often the backend is asked again whether a stopping remote is gone, besides its own hints."""
PATIENT_SECONDS = 10.0
"""From this age on the status of an instance that is not ready says what its probes say."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How the pool wants its instances probed and checked."""

    deadline_seconds: float = 300.0
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


InstancePlan = Plan[InstanceAction, InstanceStatus]


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
        return _starting(seen, now)
    return _running(seen, now)


def _ending(seen: ObservedInstance, now: datetime) -> InstancePlan:
    if FINALIZER not in seen.instance.metadata.finalizers:
        return Plan()
    if seen.remote_gone:
        return Plan(actions=(Release(_ref(seen)),))
    asked = seen.terminate_asked_at
    wait = 0.0 if asked is None else LOOK_AT_REMOTE_SECONDS - (now - asked).total_seconds()
    if wait <= 0:
        return Plan(actions=(Terminate(_ref(seen)),))
    status = _status(seen, InstancePhase.TERMINATING, False, "Terminating", "the backend is ending it", now)
    return Plan(status=status, look_again_in=wait)


def _starting(seen: ObservedInstance, now: datetime) -> InstancePlan:
    created = seen.instance.metadata.creation_timestamp or now
    left = seen.timing.deadline_seconds - (now - created).total_seconds()
    if seen.remote is None:
        return _launching(seen, left, now)
    if seen.remote.exited is not None:
        return _crash(seen, "Exited", f"it ended before it was ready: {seen.remote.exited}", now)
    if seen.probe is not None and seen.probe.ready:
        return _ready(seen, now)
    return _booting(seen, seen.remote, left, now)


def _launching(seen: ObservedInstance, left: float, now: datetime) -> InstancePlan:
    trouble = seen.trouble
    if trouble is not None:
        if trouble.final or left <= 0:
            return _crash(seen, trouble.reason, trouble.message, now)
        wait = backoff(trouble.tries) - (now - trouble.at).total_seconds()
        if wait > 0:
            status = _status(seen, InstancePhase.STARTING, False, trouble.reason, trouble.message, now)
            return Plan(status=status, look_again_in=min(wait, left))
    if not seen.remote_known:
        return Plan(look_again_in=1.0)
    return Plan(actions=(Launch(_ref(seen)),))


def _booting(seen: ObservedInstance, remote: RemoteFact, left: float, now: datetime) -> InstancePlan:
    detail = seen.probe.detail if seen.probe is not None else ""
    if left <= 0:
        why = f"it was not ready within {seen.timing.deadline_seconds:g} s" + (f": {detail}" if detail else "")
        return _crash(seen, "StartupDeadlineExceeded", why, now)
    wait = 0.0 if seen.probe is None else seen.timing.probe_seconds - (now - seen.probe.at).total_seconds()
    if remote.paused:
        return Plan(actions=(Resume(_ref(seen)),))  # a person froze it, or a pause of an earlier life came late
    if wait <= 0 and remote.url is not None:
        return Plan(actions=(Probe(_ref(seen), remote.url),))
    # What the first probes said changes quickly and means nothing; each change would be a write.
    told = detail if seen.timing.deadline_seconds - left > PATIENT_SECONDS and detail else "it is starting"
    status = _status(seen, InstancePhase.STARTING, False, "NotReady", told, now)
    return Plan(status=status, look_again_in=soonest(wait if wait > 0 else seen.timing.probe_seconds, left))


def _ready(seen: ObservedInstance, now: datetime) -> InstancePlan:
    """Readiness is seen again before the pass ends: the first health check of an idle instance is this probe."""
    status = _status(seen, InstancePhase.IDLE, True, "Ready", "", now).model_copy(update={"ready_at": now})
    return Plan(status=status, look_again_in=seen.timing.check_seconds)


def _running(seen: ObservedInstance, now: datetime) -> InstancePlan:
    remote, status = seen.remote, seen.instance.status
    if status.phase is InstancePhase.CRASHED and status.ready_at is None:
        return Plan()  # it never was ready: its status says why, and the pool replaces it
    if remote is not None and remote.exited is not None:
        return _crash(seen, "Exited", remote.exited, now)
    if remote is None and seen.remote_known:
        return _crash(seen, "RemoteGone", "the backend has it no more", now)
    probe, limit = seen.probe, seen.timing.failure_threshold
    if probe is not None and probe.failures >= limit:
        plan = _crash(seen, "HealthCheckFailed", f"{limit} checks in a row failed: {probe.detail}", now)
    else:
        plan = _healthy(seen, now)
    url = remote.url if remote is not None else status.url
    if url is None:
        return plan
    wait = _until_check(seen, now)
    taken = seen.instance.spec.claim_ref is not None
    if remote is not None and remote.paused and (wait <= 0 or taken or not seen.timing.pause_idle):
        return Plan(actions=(Resume(_ref(seen)),))
    if wait <= 0:
        return Plan(actions=(Probe(_ref(seen), url),))
    return replace(plan, actions=_comfort(seen), look_again_in=wait)


def _comfort(seen: ObservedInstance) -> tuple[InstanceAction, ...]:
    """What is done to a healthy remote: an idle one rests, a claimed one shows whose it is."""
    remote, reference, phase = seen.remote, seen.instance.spec.claim_ref, seen.instance.status.phase
    if remote is None:
        return ()
    if reference is not None:
        served = remote.anonymous and phase is InstancePhase.CLAIMED
        return (Rename(_ref(seen), reference.agent_name),) if served else ()
    # Only one that was just seen to be well is frozen: a frozen one cannot tell of its trouble.
    well = phase is InstancePhase.IDLE and seen.probe is not None and seen.probe.ready
    rests = seen.timing.pause_idle and well and not remote.paused
    return (Pause(_ref(seen)),) if rests else ()


def _healthy(seen: ObservedInstance, now: datetime) -> InstancePlan:
    """Idle until its claim is bound; a crashed one whose agent answers again is what it was before."""
    claim, status = seen.claim, seen.instance.status
    if status.phase is InstancePhase.CRASHED and not _answers_again(seen):
        return Plan()
    if claim is None or not claim.provisioned:
        # A crashed one that nobody has is the pool's to replace; a claimed one whose claim lets go of it never
        # returns to idle, it is about to be deleted.
        leaving = status.phase in {InstancePhase.CRASHED, InstancePhase.CLAIMED}
        return Plan() if leaving else Plan(status=_status(seen, InstancePhase.IDLE, True, "Ready", "", now))
    update = {
        "claimed_at": status.claimed_at or claim.bound_at or now,
        "conversation_id": claim.conversation_id,
    }
    return Plan(status=_status(seen, InstancePhase.CLAIMED, True, "Claimed", "", now).model_copy(update=update))


def _answers_again(seen: ObservedInstance) -> bool:
    """Whether a probe found it ready after it crashed: one from before says nothing."""
    failed, probe = condition_of(seen.instance.status.conditions, "Ready"), seen.probe
    since = failed.last_transition_time if failed is not None else None
    return probe is not None and probe.ready and (since is None or probe.at > since)


def _until_check(seen: ObservedInstance, now: datetime) -> float:
    interval, probe = seen.timing.check_seconds, seen.probe
    if probe is None:
        # After a restart nothing is known of earlier checks: spread the first ones over the interval by uid,
        # so that a thousand instances are not asked at once.
        offset = crc32(seen.instance.metadata.uid.encode()) % 1000 / 1000 * interval
        return offset - (now - (seen.first_seen_at or now)).total_seconds()
    suspect = 0 < probe.failures < seen.timing.failure_threshold
    wait = min(interval, 1.0 + probe.failures) if suspect else interval
    return wait - (now - probe.at).total_seconds()


def _crash(seen: ObservedInstance, reason: str, message: str, now: datetime) -> InstancePlan:
    status = _status(seen, InstancePhase.CRASHED, False, reason, message, now)
    notes = (Note("Warning", reason, message),) if seen.instance.status.phase is not InstancePhase.CRASHED else ()
    return Plan(status=status, notes=notes)


def _delete(seen: ObservedInstance, reason: str, message: str) -> InstancePlan:
    return Plan(actions=(Delete(_ref(seen), reason, message),))


def _status(
    seen: ObservedInstance, phase: InstancePhase, ready: bool, reason: str, message: str, now: datetime
) -> InstanceStatus:
    old = seen.instance.status
    condition = assert_condition(old.conditions, "Ready", ready, reason, message, now)
    update: dict[str, object] = {"phase": phase, "message": message or None, "conditions": (condition,)}
    if seen.remote is not None:
        update |= {
            "url": seen.remote.url or old.url,
            "backend_id": seen.remote.backend_id,
            "launched_at": old.launched_at or now,
        }
    return old.model_copy(update=update)


def _ref(seen: ObservedInstance) -> Ref:
    meta = seen.instance.metadata
    return Ref(meta.namespace, meta.name, meta.uid)
