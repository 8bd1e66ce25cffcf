"""What an HTTP answer means: data, an error of Railway's, or nothing certain. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from controller.backends.railway.failures import Rejected, Unanswered, one_line

_LOST = "problem processing request"
"""With neither code nor path: Railway lost the request on its way through."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def judge(answer: Answer, token: str) -> dict[str, Any] | Rejected | Unanswered:
    """The ``data``, or what there is instead of it. A 429 is not for here."""
    told = _object(answer.body)
    errors = told.get("errors") if told is not None else None
    first = next((error for error in errors if isinstance(error, dict)), {}) if isinstance(errors, list) else {}
    if answer.status in {400, 401, 403}:
        return _rejected(answer.status, told or {}, first, token)
    if told is None or answer.status == 408 or answer.status >= 500 or 300 <= answer.status < 400:
        return Unanswered(_unexpected(answer, first, token))
    if errors:
        if not first.get("path") and _LOST in _words(first, token).lower():
            return Unanswered(f"Railway lost the request ({_words(first, token)})")
        return _rejected(answer.status, told, first, token)
    data = told.get("data")
    if answer.status >= 400 or not isinstance(data, dict):
        return Unanswered(_unexpected(answer, first, token))
    return data


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _rejected(status: int, told: Mapping[str, Any], error: Mapping[str, Any], token: str) -> Rejected:
    extensions = error.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    path = error.get("path")
    data = told.get("data")
    return Rejected(
        _words(error, token) or f"HTTP {status}",
        code=_word(extensions.get("code"), token),
        path=tuple(step for step in path if isinstance(step, str | int)) if isinstance(path, list) else (),
        trace_id=_word(error.get("traceId") or extensions.get("traceId"), token),
        status=status,
        partial=isinstance(data, dict) and any(value is not None for value in data.values()),
    )


def _words(error: Mapping[str, Any], token: str) -> str:
    return _word(error.get("message"), token)


def _word(value: object, token: str) -> str:
    return one_line(value, token) if isinstance(value, str) else ""


def _unexpected(answer: Answer, error: Mapping[str, Any], token: str) -> str:
    said = _words(error, token)
    if said:
        return f"Railway failed (HTTP {answer.status}): {said}"
    if 300 <= answer.status < 400:
        return f"Railway answered with a redirect (HTTP {answer.status}), which is not followed: see to RAILWAY_API_URL"
    if answer.status == 404:
        return "nothing answers at Railway's address (HTTP 404): see to RAILWAY_API_URL"
    if answer.status >= 400:
        return f"Railway failed (HTTP {answer.status})"
    return f"the answer is none of Railway's API (HTTP {answer.status}): it is cut short, or no JSON with data in it"
