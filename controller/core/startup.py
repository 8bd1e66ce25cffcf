"""How an instance comes to be ready: it is launched, built, deployed and booted, each in a time of its own."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from controller.core.backoff import backoff
from controller.core.instancestatus import InstancePlan, crash, instance_status, ref_of
from controller.core.plan import Launch, Plan, Probe, Resume, soonest
from controller.core.stages import UNFINISHED, Stage
from controller.model import InstancePhase

if TYPE_CHECKING:
    from controller.core.instance import ObservedInstance, ProbeFact, RemoteFact

PATIENT_SECONDS = 10.0
"""After so long in its stage the status of an instance that is not ready says what its probes say."""
ORDINARY = frozenset({"NotReady", "Building", "Deploying", "Sleeping"})
"""Reasons for which an instance that starts is not ready, and that are no trouble."""
_BUSY = {Stage.BUILDING: "it is being built", Stage.DEPLOYING: "it is being deployed"}
_MISSED = {
    Stage.BUILDING: ("BuildDeadlineExceeded", "built", "the build", "buildDeadlineSeconds"),
    Stage.DEPLOYING: ("DeployDeadlineExceeded", "deployed", "the deployment", "deployDeadlineSeconds"),
}


@dataclass(frozen=True, slots=True)
class Term:
    """The time that an instance has for what it is about."""

    seconds: float
    began: datetime

    def left(self, now: datetime) -> float:
        """Seconds until it is over."""
        return self.seconds - (now - self.began).total_seconds()


def start(seen: "ObservedInstance", now: datetime) -> InstancePlan:
    """The plan for an instance that was never ready."""
    remote = seen.remote
    if remote is None:
        return _launching(seen, now)
    if remote.exited is not None:
        return crash(seen, "Exited", f"it ended before it was ready: {remote.exited}", now)
    if seen.probe is not None and seen.probe.ready:
        return _ready(seen, now)
    if remote.stage in UNFINISHED:
        term = _term(seen, remote, now)
        return missed(seen, remote, term, now) if term.left(now) <= 0 else _busy(seen, remote, term, now)
    return _booting(seen, remote, now)


def unfinished_term(seen: "ObservedInstance", remote: "RemoteFact") -> Term:
    """The time that the backend has for one that it builds or deploys anew, since somebody there ordered that."""
    building = remote.stage is Stage.BUILDING
    seconds = seen.timing.build_deadline_seconds if building else seen.timing.deploy_deadline_seconds
    return Term(seconds, _since(seen, remote))


def missed(seen: "ObservedInstance", remote: "RemoteFact", term: Term, now: datetime) -> InstancePlan:
    """The backend did not finish it in time."""
    reason, done, what, setting = _MISSED[remote.stage]
    backend = seen.instance.spec.backend.name
    told = f": {remote.told}" if remote.told else ""
    why = (
        f"it was not {done} within {term.seconds:g} s{told}; look at {what} of {remote.backend_id} at {backend}, or "
        f"raise startup.{setting}"
    )
    return crash(seen, reason, why, now)


def _term(seen: "ObservedInstance", remote: "RemoteFact | None", now: datetime) -> Term:
    timing, created = seen.timing, seen.instance.metadata.creation_timestamp or now
    if not seen.instance.spec.backend.deploys and (remote is None or remote.stage not in UNFINISHED):
        return Term(timing.deadline_seconds, created)
    match remote.stage if remote is not None else Stage.BUILDING:
        case Stage.BUILDING:
            return Term(timing.build_deadline_seconds, created)
        case Stage.DEPLOYING if remote is not None:
            return unfinished_term(seen, remote)
        case Stage.RUNNING if remote is not None:
            return Term(timing.deadline_seconds, _since(seen, remote))
        case Stage.SLEEPING if remote is not None:
            asked = _asked(seen, remote)
            return Term(timing.deadline_seconds, asked.at if asked is not None else _since(seen, remote))
        case _:
            # Nobody knows how far it is, so it has the time of all stages together.
            whole = timing.build_deadline_seconds + timing.deploy_deadline_seconds + timing.deadline_seconds
            return Term(whole, created)


def _asked(seen: "ObservedInstance", remote: "RemoteFact") -> "ProbeFact | None":
    """The last probe, unless the instance fell asleep after it."""
    probe = seen.probe
    counts = probe is None or remote.stage is not Stage.SLEEPING or probe.at >= _since(seen, remote)
    return probe if counts else None


def _since(seen: "ObservedInstance", remote: "RemoteFact") -> datetime:
    dates = (remote.since, seen.first_seen_at, seen.instance.metadata.creation_timestamp)
    return next(date for date in dates if date is not None)


def _launching(seen: "ObservedInstance", now: datetime) -> InstancePlan:
    trouble, term = seen.trouble, _term(seen, None, now)
    if trouble is not None:
        left = term.left(now)
        if left <= 0 and not trouble.final and seen.instance.spec.backend.deploys:
            why = f"it was not launched within {term.seconds:g} s of its creation: {trouble.message}"
            return crash(seen, "BuildDeadlineExceeded", why, now)
        if trouble.final or left <= 0:
            return crash(seen, trouble.reason, trouble.message, now)
        wait = max(backoff(trouble.tries), trouble.retry_after) - (now - trouble.at).total_seconds()
        if wait > 0:
            status = instance_status(seen, InstancePhase.STARTING, False, trouble.reason, trouble.message, now)
            return Plan(status=status, look_again_in=min(wait, left))
    if not seen.remote_known:
        return Plan(look_again_in=1.0)
    return Plan(actions=(Launch(ref_of(seen)),))


def _busy(seen: "ObservedInstance", remote: "RemoteFact", term: Term, now: datetime) -> InstancePlan:
    """There is nothing to ask yet."""
    told = remote.told or _BUSY[remote.stage]
    status = instance_status(seen, InstancePhase.STARTING, False, remote.stage, told, now)
    return Plan(status=status, look_again_in=term.left(now))


def _booting(seen: "ObservedInstance", remote: "RemoteFact", now: datetime) -> InstancePlan:
    term, probe = _term(seen, remote, now), _asked(seen, remote)
    left, detail = term.left(now), probe.detail if probe is not None else ""
    # A controller that was away may find it ready long after its time: it is asked once before it is given up.
    if left <= 0 and (probe is not None or remote.url is None or remote.paused):
        return crash(seen, "StartupDeadlineExceeded", _unready(seen, term, detail), now)
    if remote.paused:
        return Plan(actions=(Resume(ref_of(seen)),))  # a person froze it, or a pause of an earlier life came late
    wait = 0.0 if probe is None else seen.timing.probe_seconds - (now - probe.at).total_seconds()
    if remote.stage is Stage.SLEEPING and probe is not None:
        # That probe has woken it, and the backend will say so; another one would only keep it from sleeping.
        told = "it fell asleep before it was ready, and was asked once to find out" + (f": {detail}" if detail else "")
        status = instance_status(seen, InstancePhase.STARTING, False, remote.stage, told, now)
        return Plan(status=status, look_again_in=left)
    if wait <= 0 and remote.url is not None:
        return Plan(actions=(Probe(ref_of(seen), remote.url),))
    # What the first probes said changes quickly and means nothing; each change would be a write.
    told = detail if term.seconds - left > PATIENT_SECONDS and detail else remote.told or "it is starting"
    status = instance_status(seen, InstancePhase.STARTING, False, "NotReady", told, now)
    return Plan(status=status, look_again_in=soonest(wait if wait > 0 else seen.timing.probe_seconds, left))


def _unready(seen: "ObservedInstance", term: Term, detail: str) -> str:
    within = f"within {term.seconds:g} s" + (f": {detail}" if detail else "")
    spec, remote = seen.instance.spec, seen.remote
    if not spec.backend.deploys or remote is None:
        return f"it was not ready {within}"
    if remote.stage is Stage.UNKNOWN:
        return f"it was not ready {within}; {remote.told or f'look at {remote.backend_id} at {spec.backend.name}'}"
    return f"it runs, but was not ready {within}; look at its logs, or raise startup.deadlineSeconds"


def _ready(seen: "ObservedInstance", now: datetime) -> InstancePlan:
    """Readiness is seen again before the pass ends: the first health check of an idle instance is this probe."""
    status = instance_status(seen, InstancePhase.IDLE, True, "Ready", "", now).model_copy(update={"ready_at": now})
    return Plan(status=status, look_again_in=seen.timing.check_seconds)
