"""Lives of instances and claims, as the API server would have shown them state by state, and the truth about them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from controller.core.transitions import Record, Subject, derive
from controller.model import AgentClaim, AgentInstance
from tests.core.builders import NOW

Truth = dict[tuple[str, str], datetime]
"""When what happened really happened, by transition and ordinal."""


@dataclass
class Life:
    """All states of one object, in order."""

    states: list[Subject] = field(default_factory=list)
    truth: Truth = field(default_factory=dict)

    def records(self, seen: Sequence[int] | None = None, *, to_the_end: bool = True) -> list[Record]:
        """What somebody derives who sees the states of those numbers only, and its end."""
        chosen = self.states if seen is None else [self.states[number] for number in seen]
        pairs = zip([None, *chosen], [*chosen, None] if to_the_end else chosen, strict=False)
        return [record for before, after in pairs for record in derive(before, after)]


class _Teller:
    """Tells a life: a clock that only goes on, and an object that changes with it."""

    def __init__(self, name: str, random: Random, begin: datetime) -> None:
        self.life = Life()
        self.random = random
        self.now = begin + timedelta(microseconds=random.randrange(10**6))
        created = self.now.replace(microsecond=0)
        uid = f"uid-{name}"
        self.meta: dict[str, Any] = {"name": name, "namespace": "default", "uid": uid, "creationTimestamp": created}
        self.version = random.randrange(1, 1000)
        self.status: dict[str, Any] = {}
        self.truth("Created")

    def pass_time(self) -> None:
        self.now += timedelta(microseconds=self.random.choice([1, 900, 400_000, 2_700_000, 90_000_000]))

    def truth(self, transition: str, ordinal: str = "") -> None:
        self.life.truth.setdefault((transition, ordinal), self.now)

    def unready(self, reason: str, message: str) -> datetime:
        """The Ready condition turns or stays False; its date moves only when it turns."""
        old = self.status.get("conditions", [{}])[0]
        since = old["lastTransitionTime"] if old.get("status") == "False" else self.now
        self._condition("False", reason, since)
        self.status["message"] = message
        return datetime.fromisoformat(since) if isinstance(since, str) else since

    def ready(self, reason: str) -> None:
        old = self.status.get("conditions", [{}])[0]
        self._condition("True", reason, old["lastTransitionTime"] if old.get("status") == "True" else self.now)
        self.status.pop("message", None)

    def delete(self, transition: str) -> None:
        self.meta["deletionTimestamp"] = self.now.replace(microsecond=0)
        if transition:
            self.truth(transition)

    def say(self, kind: type[Subject], spec: dict[str, Any]) -> None:
        self.version += self.random.randrange(1, 5)
        metadata = {**self.meta, "resourceVersion": str(self.version)}
        self.life.states.append(kind.parse({"metadata": metadata, "spec": spec, "status": dict(self.status)}))

    def _condition(self, status: str, reason: str, since: datetime) -> None:
        self.status["conditions"] = [
            {"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": since}
        ]


def instance_life(name: str, random: Random, *, claim: str = "wish", begin: datetime = NOW) -> Life:
    """An instance that starts, may be claimed, may crash and recover, and ends."""
    told = _Teller(name, random, begin)
    spec: dict[str, Any] = {"pool": "helpers", "templateHash": "abc", "backend": {"process": {}}}
    told.say(AgentInstance, spec)
    told.pass_time()
    told.status |= {"phase": "Starting", "launchedAt": told.now, "backendId": "4711"}
    told.unready("NotReady", "it is starting")
    told.truth("Launched")
    told.say(AgentInstance, spec)
    told.pass_time()
    if random.random() < 0.2:
        told.status["phase"] = "Crashed"
        told.unready("Exited", "it ended before it was ready")
        told.truth("Crashed")
        told.say(AgentInstance, spec)
    else:
        told.status |= {"phase": "Idle", "readyAt": told.now}
        told.ready("Ready")
        told.truth("Ready")
        told.say(AgentInstance, spec)
        _used(told, spec, claim)
    told.pass_time()
    told.delete("Deleting")
    told.say(AgentInstance, spec)
    told.pass_time()
    told.truth("Gone")
    return told.life


def _used(told: _Teller, spec: dict[str, Any], claim: str) -> None:
    told.pass_time()
    phase = "Idle"
    if told.random.random() < 0.7:
        spec["claimRef"] = {"name": claim, "uid": f"uid-{claim}", "agentName": "Ada"}
        told.truth("Bound")
        told.say(AgentInstance, spec)
        told.pass_time()
        phase = "Claimed"
        told.status |= {"phase": phase, "claimedAt": told.now, "conversationId": "c-1"}
        told.ready("Claimed")
        told.truth("Claimed")
        told.say(AgentInstance, spec)
    for _ in range(told.random.randrange(3)):
        told.pass_time()
        told.status["phase"] = "Crashed"
        since = told.unready("HealthCheckFailed", "3 checks in a row failed")
        told.truth("Crashed", since.isoformat())
        told.say(AgentInstance, spec)
        if told.random.random() < 0.5:
            told.pass_time()
            told.unready("Exited", "and now it has exited")
            told.say(AgentInstance, spec)
        told.pass_time()
        told.status["phase"] = phase
        told.ready("Ready")
        told.say(AgentInstance, spec)


def claim_life(name: str, random: Random, *, begin: datetime = NOW, **spec: Any) -> Life:
    """A claim that may wait, be rebound, be bound, fail or end, and is deleted."""
    told = _Teller(name, random, begin)
    spec = {"pool": "helpers", "agentName": "Ada"} | spec
    told.say(AgentClaim, spec)
    if random.random() < 0.5:
        told.pass_time()
        told.status["phase"] = "Pending"
        told.unready("Queued", "waiting for an instance")
        told.say(AgentClaim, spec)
    attempts = random.choice([0, 0, 1, 2])
    for attempt in range(1, attempts + 1):
        told.pass_time()
        told.status |= {"phase": "Pending", "attempts": attempt, "instance": f"one-{attempt}"}
        told.unready("ProvisionTimeout", "another one is taken")
        told.truth("Rebinding", str(attempt))
        told.say(AgentClaim, spec)
        told.pass_time()
        told.status.pop("instance")
        told.unready("Queued", "waiting for an instance")
        told.say(AgentClaim, spec)
    told.pass_time()
    if random.random() < 0.25:
        more = random.random() < 0.5
        told.status |= {"phase": "Failed"} | ({"attempts": attempts + 1} if more else {})
        told.unready("ProvisionTimeout" if more else "BindTimeout", "nothing became of it")
        told.truth("Failed")
        told.say(AgentClaim, spec)
    else:
        _served(told, spec, attempts)
    told.pass_time()
    told.delete("" if told.status["phase"] in ("Failed", "Expired", "Evicted") else "Released")
    told.say(AgentClaim, spec)
    told.pass_time()
    told.truth("Gone")
    return told.life


def _served(told: _Teller, spec: dict[str, Any], attempts: int) -> None:
    told.status |= {"instance": "one", "inviteUrl": "https://dev.convos.org/v2?i=canary-invite"}
    if told.random.random() < 0.3:
        told.status["phase"] = "PendingAcceptance"
        told.unready("PendingAcceptance", "somebody has to accept it")
        told.truth("PendingAcceptance", str(attempts))
        told.say(AgentClaim, spec)
        told.pass_time()
    told.status |= {"phase": "Bound", "boundAt": told.now, "conversationId": "c-1", "joined": False}
    told.ready("Bound")
    told.truth("Bound")
    told.say(AgentClaim, spec)
    if told.random.random() < 0.3:
        told.pass_time()
        told.unready("InstanceCrashed", "its agent is not well")
        told.say(AgentClaim, spec)
    if told.random.random() < 0.5:
        told.pass_time()
        end = told.random.choice(["Expired", "Evicted"])
        told.status["phase"] = end
        told.unready("LifetimeOver" if end == "Expired" else "InstanceDeleted", "it is over")
        told.truth(end)
        told.say(AgentClaim, spec)
