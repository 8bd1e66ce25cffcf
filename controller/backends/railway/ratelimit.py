"""What Railway's headers say about how much may still be asked: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_SECONDS = 3600.0
"""No window is longer than an hour: whatever says so is misread."""
_MILLISECONDS = 1e11
_EPOCH = 1e8


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What one answer told; ``None`` for what it did not."""

    limit: int | None = None
    """Requests in a window."""
    remaining: int | None = None
    """Requests that are left of the window."""
    reset: float | None = None
    """Seconds until the window ends."""
    retry_after: float | None = None
    """Seconds until anything may be asked again."""


def read(headers: Mapping[str, str]) -> RateLimit:
    """The headers of an answer. Moments are told by its own date, so that a wrong clock here does no harm."""
    now = _date(headers.get("Date", ""))
    return RateLimit(
        limit=_count(headers.get("X-RateLimit-Limit", "")),
        remaining=_count(headers.get("X-RateLimit-Remaining", "")),
        reset=_until(headers.get("X-RateLimit-Reset", ""), now),
        retry_after=_until(headers.get("Retry-After", ""), now),
    )


def _count(text: str) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _until(text: str, now: float | None) -> float | None:
    """Seconds until a moment that is given as seconds from now, as a time since the epoch, or as a date."""
    number = _number(text)
    if number is None:
        moment = _date(text)
        if moment is None:
            return None
        number = moment
    if number >= _MILLISECONDS:
        number /= 1000
    if number >= _EPOCH:
        if now is None:
            return None
        number -= now
    return min(max(number, 0.0), LONGEST_SECONDS)


def _number(text: str) -> float | None:
    text = text.strip()
    if not text.isascii() or len(text) > 20 or not text.replace(".", "", 1).isdigit():
        return None
    return float(text)


def _date(text: str) -> float | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(text.strip())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None
