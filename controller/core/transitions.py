"""Transitions: what happened to an instance or a claim, read off two of its states as records for the ledger.

A record is a fact that one state by itself tells, and has a key that is the same whichever state it was read off. So
who missed states in between, or derives everything again after a restart, gets the same keys, and never one too many.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Any

from controller.model import AgentClaim, AgentInstance, ClaimPhase, InstancePhase, condition_of

Subject = AgentInstance | AgentClaim
_SECOND = timedelta(seconds=1)
"""The API server cuts the dates that it sets itself to whole seconds."""


class Transition(StrEnum):
    """What can happen, in the order in which it does."""

    CREATED = "Created"
    LAUNCHED = "Launched"
    READY = "Ready"
    REBINDING = "Rebinding"
    PENDING_ACCEPTANCE = "PendingAcceptance"
    BOUND = "Bound"
    CLAIMED = "Claimed"
    CRASHED = "Crashed"
    FAILED = "Failed"
    EVICTED = "Evicted"
    EXPIRED = "Expired"
    RELEASED = "Released"
    DELETING = "Deleting"
    GONE = "Gone"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return _RANKS[self]


_RANKS = dict(zip(Transition, count(), strict=False))
_ENDS = {
    ClaimPhase.FAILED: Transition.FAILED,
    ClaimPhase.EVICTED: Transition.EVICTED,
    ClaimPhase.EXPIRED: Transition.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened to one object."""

    kind: str
    """AgentInstance or AgentClaim."""
    uid: str
    namespace: str
    name: str
    pool: str
    transition: Transition
    ordinal: str
    """Tells two of the same transition apart, where there can be two: the attempt, or since when it is not ready."""
    created: datetime
    """When the object was created, as the API server says: the same in all records of the object."""
    not_before: datetime
    """The earliest moment at which it can have happened, as far as the object tells."""
    not_after: datetime | None
    """The latest such moment; equal to ``not_before`` where the object tells exactly. ``None``: nobody knows."""
    version: int
    """Resource version of the state that it was read off."""
    reason: str = ""
    message: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else that state said of the object, as JSON: for the tables of what is so now."""
    content: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What people and agents said to each other, and the ways into their conversations: not for every ledger."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The same for the same event, whoever derives it and whenever."""
        return self.uid, self.transition, self.ordinal

    def moment(self, seen: datetime) -> datetime:
        """When it happened, to the best knowledge of who saw it then."""
        if self.not_after is None or seen <= self.not_after:
            return max(seen, self.not_before)
        # Seen late, as after a restart: a life begins as early as it can, and everything else is as late as it can be.
        return self.not_before if self.transition is Transition.CREATED else self.not_after


def derive(before: Subject | None, after: Subject | None) -> tuple[Record, ...]:
    """What happened between two states of one object, in order; ``None`` stands for absent.

    ``derive(None, thing)`` is all that happened to it as far as it tells; ``derive(thing, None)``, its end.
    """
    if before is not None and after is not None and before.metadata.uid != after.metadata.uid:
        return (*derive(before, None), *derive(None, after))
    if after is None:
        return () if before is None else tuple(_gone(before))
    known = {record.key for record in _told(before)} if before is not None else set()
    return tuple(record for record in _told(after) if record.key not in known)


def _told(thing: Subject) -> Iterator[Record]:
    """Everything that one state tells, in the order of events."""
    begin = thing.metadata.creation_timestamp
    if begin is None:
        return iter(())  # no API server has ever seen it
    if isinstance(thing, AgentInstance):
        return _of_instance(thing, _Story(thing, begin, _about_instance(thing)))
    return _of_claim(thing, _Story(thing, begin, _about_claim(thing)))


def _of_instance(instance: AgentInstance, story: "_Story") -> Iterator[Record]:
    meta, status = instance.metadata, instance.status
    yield story.created()
    if status.launched_at is not None:
        yield story.exactly(Transition.LAUNCHED, status.launched_at)
    if status.ready_at is not None:
        yield story.exactly(Transition.READY, status.ready_at)
    reference = instance.spec.claim_ref
    if reference is not None:
        why = _Why("", f"for claim {reference.name}")
        yield story.between(Transition.BOUND, status.ready_at or story.begin, status.claimed_at, why=why)
    if status.claimed_at is not None:
        yield story.exactly(Transition.CLAIMED, status.claimed_at)
    if status.phase is InstancePhase.CRASHED:
        yield _crash(story, instance)
    if meta.deletion_timestamp is not None:
        yield story.between(Transition.DELETING, meta.deletion_timestamp, meta.deletion_timestamp + _SECOND)


def _crash(story: "_Story", instance: AgentInstance) -> Record:
    """One crash for each time that it stopped being ready; one that never was ready crashes once."""
    status, condition = instance.status, condition_of(instance.status.conditions, "Ready")
    why = _Why(condition.reason if condition else "", status.message or "")
    since = condition.last_transition_time if condition is not None else None
    if status.ready_at is None or since is None:
        # It was not ready before, so the condition's date is older than the crash.
        return story.between(Transition.CRASHED, status.launched_at or story.begin, None, why=why)
    return story.between(Transition.CRASHED, since, since, ordinal=since.isoformat(), why=why)


def _of_claim(claim: AgentClaim, story: "_Story") -> Iterator[Record]:
    meta, status, phase = claim.metadata, claim.status, claim.status.phase
    condition = condition_of(status.conditions, "Ready")
    why, invited = _Why(condition.reason if condition else "", status.message or ""), _invitation(claim)
    yield story.created(_said(claim))
    yield from _rebindings(story, claim, why)
    if phase is ClaimPhase.PENDING_ACCEPTANCE:
        ordinal = str(status.attempts or 0)
        yield story.between(Transition.PENDING_ACCEPTANCE, story.begin, None, ordinal=ordinal, why=why, content=invited)
    if status.bound_at is not None:
        where = _Why("", f"to instance {status.instance}" if status.instance else "")
        yield story.exactly(Transition.BOUND, status.bound_at, why=where, content=invited)
    if phase in _ENDS:
        # It may have been unready for another reason before, so the condition's date is the earliest.
        since = condition.last_transition_time if condition is not None and status.bound_at is not None else None
        yield story.between(_ENDS[phase], since or story.begin, None, why=why)
    elif meta.deletion_timestamp is not None:
        yield story.between(Transition.RELEASED, meta.deletion_timestamp, meta.deletion_timestamp + _SECOND)


def _rebindings(story: "_Story", claim: AgentClaim, why: "_Why") -> Iterator[Record]:
    """One for each instance that the claim used up, besides the one on which it failed."""
    status, attempts = claim.status, claim.status.attempts or 0
    for attempt in range(1, attempts + (status.phase is not ClaimPhase.FAILED)):
        told = status.phase is ClaimPhase.PENDING and status.instance is not None and attempt == attempts
        reason = why if told else _Why()
        yield story.between(Transition.REBINDING, story.begin, status.bound_at, ordinal=str(attempt), why=reason)


def _gone(thing: Subject) -> Iterator[Record]:
    meta = thing.metadata
    if meta.creation_timestamp is None:
        return
    if isinstance(thing, AgentInstance):
        about, last = _about_instance(thing), thing.status.claimed_at
    else:
        about, last = _about_claim(thing), thing.status.bound_at
    known = (meta.creation_timestamp, meta.deletion_timestamp, last)
    yield _Story(thing, meta.creation_timestamp, about).between(Transition.GONE, max(filter(None, known)), None)


@dataclass(frozen=True, slots=True)
class _Why:
    reason: str = ""
    message: str = ""


class _Story:
    """Makes the records that are read off one state."""

    def __init__(self, thing: Subject, begin: datetime, about: Mapping[str, Any]) -> None:
        self._thing = thing
        self._about = about
        self.begin = begin

    def created(self, content: Mapping[str, str] | None = None) -> Record:
        return self.between(Transition.CREATED, self.begin, self.begin + _SECOND, content=content)

    def exactly(
        self, what: Transition, at: datetime, *, why: _Why = _Why(), content: Mapping[str, str] | None = None
    ) -> Record:
        return self.between(what, at, at, why=why, content=content)

    def between(
        self,
        what: Transition,
        not_before: datetime,
        not_after: datetime | None,
        *,
        ordinal: str = "",
        why: _Why = _Why(),
        content: Mapping[str, str] | None = None,
    ) -> Record:
        meta = self._thing.metadata
        return Record(
            kind=self._thing.kind_name,
            uid=meta.uid,
            namespace=meta.namespace,
            name=meta.name,
            pool=self._thing.spec.pool,
            transition=what,
            ordinal=ordinal,
            created=self.begin,
            not_before=not_before,
            not_after=not_after,
            version=meta.version,
            reason=why.reason,
            message=why.message,
            about=self._about,
            content=content or {},
        )


def _about_instance(instance: AgentInstance) -> dict[str, Any]:
    spec, status = instance.spec, instance.status
    return _present(
        phase=status.phase,
        backend=spec.backend.name,
        place=spec.backend.place(instance.metadata.namespace),
        backendId=status.backend_id,
        templateHash=spec.template_hash,
        source=_source(instance),
        claimName=spec.claim_ref.name if spec.claim_ref else None,
        claimUid=spec.claim_ref.uid if spec.claim_ref else None,
        agentName=(spec.claim_ref.agent_name or None) if spec.claim_ref else None,
        conversationId=status.conversation_id,
        held=_held(instance),
    )


def _source(instance: AgentInstance) -> str | None:
    """What it ran, in a word: an image, or a repository with its branch or commit."""
    template = instance.spec.template
    if template.git is not None:
        return f"{template.git.repo}@{template.git.commit or template.git.branch}"
    return template.image


def _held(instance: AgentInstance) -> list[dict[str, Any]]:
    """What it had to itself."""
    volume = instance.spec.template.volume
    return [{"kind": "Volume", "onDelete": volume.on_delete}] if volume is not None else []


def _about_claim(claim: AgentClaim) -> dict[str, Any]:
    spec, status = claim.spec, claim.status
    return _present(
        phase=status.phase,
        agentName=spec.agent_name,
        priority=spec.priority,
        instance=status.instance,
        conversationId=status.conversation_id,
        joined=status.joined,
        attempts=status.attempts,
        labels=claim.metadata.labels,
    )


def _said(claim: AgentClaim) -> dict[str, str]:
    """What its maker wrote into it. Instructions that come from elsewhere are not here."""
    return _content(instructions=claim.spec.instructions, joinUrl=claim.spec.join_url)


def _invitation(claim: AgentClaim) -> dict[str, str]:
    return _content(inviteUrl=claim.status.invite_url)


def _content(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
