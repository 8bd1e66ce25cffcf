"""What the engine sends, read as data: ``Unreachable`` for what is none of a Docker engine."""

import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from controller.backends.docker.errors import Unreachable
from controller.backends.docker.names import UID

_OF_ANOTHER_SHAPE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, tarfile.TarError,
)  # fmt: skip


@contextmanager
def read_as(what: str) -> Iterator[None]:
    """Around the reading of an answer: what goes wrong there says that the answer is of another shape."""
    try:
        yield
    except _OF_ANOTHER_SHAPE as error:
        # Without its words, which may be as long as the answer.
        raise Unreachable(f"what came as {what} is none of a Docker engine ({type(error).__name__})") from None


def value_in(content: bytes, what: str) -> Any:
    """The JSON in an answer."""
    with read_as(what):
        return json.loads(content)


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of the stream of events."""

    moment: str
    """When it was, as ``since`` takes it."""
    uid: str
    """The instance; empty where the container is of none."""
    container: str


def read_event(line: bytes) -> Happening:
    """One event."""
    with read_as("an event"):
        event = json.loads(line)
        seconds, nanoseconds = divmod(int(event["timeNano"]), 10**9)
        actor = event["Actor"]
        uid, container = actor["Attributes"].get(UID) or "", actor["ID"]
        if not isinstance(uid, str) or not isinstance(container, str):
            raise TypeError
        return Happening(f"{seconds}.{nanoseconds:09d}", uid, container)


def common_version(found: Any, least: tuple[int, int], newest: tuple[int, int]) -> tuple[int, int] | None:
    """The newest version of the API that an engine, as ``/version`` shows it, and we speak; ``None``: it is too old."""
    with read_as("its version"):
        theirs, their_least = _version(found["ApiVersion"]), _version(found.get("MinAPIVersion") or "1.12")
    return None if theirs < least else max(min(theirs, newest), their_least)


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def message_in(text: str) -> str:
    """What an engine said, out of the JSON in which it says it."""
    with suppress(*_OF_ANOTHER_SHAPE):
        text = str(json.loads(text)["message"])
    return text[:2000]
