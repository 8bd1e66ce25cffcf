"""The API server's answers: what is in them, and its refusals, sorted into the controller's errors."""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson
from pydantic import TypeAdapter, ValidationError

from controller.core.election import LeaseRecord
from controller.errors import AgentpoolError, Conflict, Missing, Refused, Transient, Unserved
from controller.model.meta import version_in
from controller.ports import StoredSecret

NOT_ACCEPTED = "the API server does not accept the operator's credentials: renew the kubeconfig or token"
NOT_SERVED = (
    "the API server does not serve what was asked for: it has just started, or the CRDs are not installed: run "
    "'kubectl apply -f crds/'"
)
_TIME: TypeAdapter[datetime | None] = TypeAdapter(datetime | None)
LONGEST_RETRY_AFTER = 3600
"""Seconds that a Retry-After may ask for."""


def error_for(status: int, content: bytes, retry_after: str | None) -> AgentpoolError:
    """The error that an answer of 400 or more means."""
    reason, message, name = _status(content)
    message = message or f"the API server answered with HTTP status {status}"
    if status == 404:
        # An object that is not there is named. A server that has just started knows no custom kind for a moment, and
        # says 404 to each: whoever takes that for the end of an object forgets what lives, and makes it twice.
        return Missing(message) if name else Unserved(NOT_SERVED)
    if status == 409:
        return Conflict(message)
    if status == 401:
        return Transient(NOT_ACCEPTED)
    if status in {408, 410, 429} or status >= 500:
        return Transient(message, _seconds(retry_after))
    return Refused(reason or "Refused", message)


def object_in(server: str, content: bytes) -> dict[str, Any]:
    """The object in an answer; ``Transient`` for anything else."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise Transient(f"the API server at {server} answered something else than JSON") from None
    if not isinstance(answer, dict):
        raise Transient(f"the API server at {server} answered something else than an object")
    return answer


def page_in(answer: Mapping[str, Any]) -> tuple[Sequence[object], str]:
    """The objects of a page of a list, and the token of the next page; empty with the last one."""
    items, metadata = answer.get("items"), answer.get("metadata")
    token = metadata.get("continue") if isinstance(metadata, dict) else None
    # Of custom kinds an empty list is one, too: whoever takes anything else for that forgets all that lives.
    if not isinstance(items, list) or not isinstance(token, str | None):
        raise Transient("the API server answered something else than a list")
    return items, token or ""


def page_version(answer: Mapping[str, Any]) -> int | None:
    """The resourceVersion that a list was made at; ``None`` if it is no number."""
    metadata = answer.get("metadata")
    return version_in(str(metadata.get("resourceVersion"))) if isinstance(metadata, dict) else None


def secret_in(answer: Mapping[str, Any]) -> StoredSecret:
    """The Secret in an answer, its content decoded; ``Refused`` when that is not text."""
    meta, owners = answer.get("metadata") or {}, _owners(answer)
    try:
        content = {key: base64.b64decode(value, validate=True).decode() for key, value in _data(answer).items()}
    except (binascii.Error, ValueError):
        where = f"Secret {meta.get('name')} in namespace {meta.get('namespace')}"
        raise Refused("SecretNotText", f"{where} holds bytes that are not text: store text in it") from None
    owner = next((str(owner.get("uid")) for owner in owners if owner.get("controller")), None)
    version, kind = str(meta.get("resourceVersion")), str(answer.get("type") or "Opaque")
    return StoredSecret(str(meta.get("uid")), version, owner, content, kind)


def _owners(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    meta = answer.get("metadata") or {}
    owners = (meta.get("ownerReferences") or []) if isinstance(meta, dict) else None
    if not isinstance(owners, list) or not all(isinstance(owner, dict) for owner in owners):
        raise Transient("the API server answered something else than an object with metadata")
    return owners


def text_in(answer: Mapping[str, Any]) -> dict[str, str]:
    """The content of a ConfigMap."""
    return _data(answer)


def _data(answer: Mapping[str, Any]) -> dict[str, str]:
    data = answer.get("data") or {}
    if not isinstance(data, dict) or not all(isinstance(value, str | None) for value in data.values()):
        raise Transient("the API server answered something else than an object with text under data")
    # A key that was stored with null comes back with null.
    return {key: value or "" for key, value in data.items()}


def lease_in(raw: Mapping[str, Any]) -> LeaseRecord:
    """The Lease in an answer of the API server; ``Transient`` when there is none in it."""
    meta, spec = raw.get("metadata"), raw.get("spec") or {}
    if not isinstance(meta, dict) or not isinstance(spec, dict):
        raise Transient("the API server answered something else than a Lease")
    holder, version = spec.get("holderIdentity"), meta.get("resourceVersion")
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if not (isinstance(holder, str | None) and isinstance(version, str | None)) or not (
        isinstance(duration, int | None) and isinstance(transitions, int | None)
    ):
        raise Transient("the API server answered a Lease of another shape than Leases have")
    return LeaseRecord(
        holder=holder or "",
        duration_seconds=duration or 1,
        acquired_at=_time(spec.get("acquireTime")),
        renewed_at=_time(spec.get("renewTime")),
        transitions=transitions or 0,
        version=version or "",
    )


def date_in(header: str | None) -> datetime | None:
    """The moment in a Date header; ``None`` when there is none, and for one without a zone: HTTP's always have one."""
    try:
        moment = parsedate_to_datetime(header or "")
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def no_answer(server: str, error: Exception) -> Transient:
    """The error for a request that got no answer, or half of one."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Transient(
                f"the certificate of the API server at {server} is not trusted: the kubeconfig holds the authority of "
                "another server, renew it"
            )
        case aiohttp.ClientConnectorError(errno=int(number)) if number > 0:
            why = os.strerror(number)
        case aiohttp.ClientConnectorError(strerror=str(text)):
            why = text
        case aiohttp.ClientConnectorError():
            why = "it does not speak TLS as expected"
        case TimeoutError():
            why = "it did not answer in time"
        case _:
            why = str(error) or type(error).__name__
    return Transient(
        f"the API server at {server} cannot be reached ({why}): start it, or correct its address in the kubeconfig"
    )


def _status(content: bytes) -> tuple[str, str, str]:
    """The reason, the message, and the name of the object that it is about; each empty where there is none."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return "", "", ""
    if not isinstance(answer, dict):
        return "", "", ""
    details = answer.get("details")
    name = details.get("name") if isinstance(details, dict) else None
    return _word(answer.get("reason")), _word(answer.get("message")), _word(name)


def _seconds(retry_after: str | None) -> float | None:
    """The peer's wish; the form with a date is ignored."""
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10):
        return None
    return float(min(int(retry_after), LONGEST_RETRY_AFTER))


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    try:
        return _TIME.validate_python(value)
    except ValidationError:
        return None
