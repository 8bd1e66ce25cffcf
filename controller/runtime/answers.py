"""What an answer means: ready or why not, provisioned or which error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from controller.core.sentence import quoted
from controller.errors import Conflict, Refused, Transient
from controller.ports import UNAUTHORIZED, Provisioned
from controller.runtime.shapes import (
    ConvosCreated,
    ConvosJoined,
    Failure,
    NewerStatus,
    NobodyThere,
    OlderStatus,
    PoolHealth,
    PoolProvisioned,
    read,
)
from controller.runtime.transport import Answer

NOT_TAKEN = frozenset({429, 503})
"""Answers by which the runtime says that it did nothing."""
_TRANSIENT_REFUSALS = frozenset({408, 425, 429})
_PENDING = frozenset({"pending_acceptance", "waiting_for_acceptance"})
_NOT_AN_AGENT = "this is not an agent runtime"
_NOTHING_RUNS = "Railway's edge has nothing running there: it is waking up, or gone"


@dataclass(frozen=True, slots=True)
class ConvosStatus:
    """Either shape of ``/convos/status``."""

    ready: bool
    conversation_id: str | None
    dirty: bool
    """A try to bind it failed half-way and left files behind: it can only be destroyed."""


def why_unready(answer: Answer, protocol: Literal["pool", "convos"], secrets: Sequence[str]) -> str:
    """Why a probe's answer does not mean ready, in a sentence; empty when it does."""
    if answer.status != 200 or not answer.is_json:
        return _unexpected(answer, secrets)
    if protocol == "pool":
        health = read(PoolHealth, answer.body)
        if health is None:
            return f"it answered JSON of another shape than /pool/health has: {_NOT_AN_AGENT}"
        return "" if health.ready else "it says that it is not ready"
    status = _convos_status(answer)
    if status is None:
        return f"it answered JSON of another shape than /convos/status has: {_NOT_AN_AGENT}"
    if status.dirty:
        return "it is not clean: an earlier try to bind it failed, and it can only be destroyed"
    return "" if status.ready else "it says that it is not ready"


def conversation_in(answer: Answer, secrets: Sequence[str]) -> str | None:
    """The conversation in a status; raises what its absence means."""
    _require_an_agent(answer, secrets)
    if answer.status != 200 or not answer.is_json:
        raise Transient(f"the runtime does not tell its status: {_unexpected(answer, secrets)}", answer.retry_after)
    status = _convos_status(answer)
    if status is None:
        raise Transient("the runtime answered JSON of another shape than /convos/status has")
    return status.conversation_id


def pool_provisioned(answer: Answer, secrets: Sequence[str]) -> Provisioned:
    """What ``POST /pool/provision`` led to."""
    _require_taken(answer, secrets)
    told = read(PoolProvisioned, answer.body)
    if told is None:
        raise Transient("the runtime answered 200, but its JSON is cut short or not in the shape of /pool/provision")
    pending = told.status in _PENDING
    return _bound(
        Provisioned(
            conversation_id=told.conversation_id or None,
            invite_url=told.invite_url or None,
            joined=told.joined and not pending,
            pending=pending,
            token_rotated=told.token_rotated,
        )
    )


def convos_provisioned(answer: Answer, secrets: Sequence[str], *, joining: bool) -> Provisioned:
    """What ``POST /convos/conversation``, or when joining ``POST /convos/join``, led to."""
    _require_taken(answer, secrets)
    if joining:
        joined = read(ConvosJoined, answer.body)
        if joined is None:
            raise Transient("the runtime answered 200, but its JSON is cut short or not in the shape of /convos/join")
        pending = joined.status in _PENDING
        return _bound(Provisioned(joined.conversation_id or None, None, joined=not pending, pending=pending))
    created = read(ConvosCreated, answer.body)
    if created is None:
        raise Transient(
            "the runtime answered 200, but its JSON is cut short or not in the shape of /convos/conversation"
        )
    return _bound(Provisioned(created.conversation_id or None, created.invite_url or None, joined=False))


def _bound(provisioned: Provisioned) -> Provisioned:
    if not (provisioned.pending or provisioned.conversation_id or provisioned.invite_url):
        raise Transient("the runtime says that it took the order, but names neither a conversation nor an invite")
    return provisioned


def _require_taken(answer: Answer, secrets: Sequence[str]) -> None:
    """Pass only a success in JSON."""
    status = answer.status
    if status == 409:
        own_words = _own_words(answer, secrets)
        raise Conflict(f"the runtime says that it is taken{own_words}")
    _require_an_agent(answer, secrets)
    if 400 <= status < 500 and status not in _TRANSIENT_REFUSALS:
        raise Refused("ProvisionRefused", f"the runtime refuses the order ({status}){_own_words(answer, secrets)}")
    if status != 200 or not answer.is_json:
        raise Transient(f"the runtime did not take the order: {_unexpected(answer, secrets)}", answer.retry_after)


def _require_an_agent(answer: Answer, secrets: Sequence[str]) -> None:
    status = answer.status
    if _is_of_an_edge(answer):
        raise Transient(_NOTHING_RUNS)
    if status in {401, 403}:
        raise Refused(
            UNAUTHORIZED,
            f"the runtime refuses the instance's token ({status}){_own_words(answer, secrets)}:"
            " it was started with another one",
        )
    # A page from a gateway on its way up or a proxy's 5xx passes; a page as an answer, or no such path, does not.
    if status in {404, 405} or (answer.is_html and (status == 200 or 400 <= status < 500)):
        raise Refused("NotAnAgentRuntime", f"what answers at the instance's address: {_unexpected(answer, secrets)}")


def _is_of_an_edge(answer: Answer) -> bool:
    """Whether nobody but a proxy in front has answered."""
    return answer.status == 404 and answer.is_json and read(NobodyThere, answer.body) is not None


def _unexpected(answer: Answer, secrets: Sequence[str]) -> str:
    """A status or a content type that is not the contract's, in a sentence."""
    status = answer.status
    if _is_of_an_edge(answer):
        return _NOTHING_RUNS
    if status in {401, 403}:
        return f"it refuses the instance's token ({status})"
    if status in {404, 405}:
        return f"it answered {status}, no such path: {_NOT_AN_AGENT}"
    if 300 <= status < 400:
        return f"it answered with a redirect ({status}), which is never followed"
    if status != 200:
        return f"it answered {status}{_own_words(answer, secrets)}"
    kind = quoted(answer.content_type, secrets) or "no content type"
    return f"it answered {kind} instead of JSON: {_NOT_AN_AGENT}"


def _own_words(answer: Answer, secrets: Sequence[str]) -> str:
    failure = read(Failure, answer.body) if answer.is_json else None
    words = quoted(failure.error, secrets) if failure is not None else ""
    return f": {words}" if words else ""


def _convos_status(answer: Answer) -> ConvosStatus | None:
    newer = read(NewerStatus, answer.body)
    if newer is not None:
        # While a join waits for somebody to accept it, an id that is already known is not a conversation that it is in.
        conversation_id = None if newer.pending else newer.conversation_id or None
        dirty = not newer.clean and not newer.pending and conversation_id is None
        return ConvosStatus(ready=newer.ready, conversation_id=conversation_id, dirty=dirty)
    older = read(OlderStatus, answer.body)
    if older is None:
        return None
    conversation_id = older.conversation.id if older.conversation is not None else None
    return ConvosStatus(ready=older.ready, conversation_id=conversation_id, dirty=False)
