"""Asks the operator's HTTP API, and makes one sentence of whatever comes back."""

from __future__ import annotations

import http.client
import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from types import FrameType
from typing import IO, Any
from urllib.parse import urlsplit

from agent.commands.own_token import own_token

LARGEST_ANSWER = 64 * 1024
LONGEST_SENTENCE = 300
_NO_SUCH_API = frozenset({404, 405, 501})
_AGAIN = frozenset({408, 425, 429})


class Exit(IntEnum):
    """How a command ends."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3


class CommandError(Exception):
    """What a command says before it ends; the text is one line."""

    def __init__(self, exit_code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON object that the operator answered."""

    status: int
    body: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """A field as one printable line; None if it is no text, or empty."""
        value = self.body.get(name)
        return _one_line(value) or None if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class PoolApi:
    """The operator, as one instance may ask it."""

    url: str
    instance_id: str
    token: str = field(repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> PoolApi:
        """Read POOL_URL, INSTANCE_ID and the instance's token, or raise CommandError with what is wrong."""
        given = {
            name: environment.get(name, "").strip() for name in ("POOL_URL", "INSTANCE_ID", "OPENCLAW_GATEWAY_TOKEN")
        }
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise CommandError(
                Exit.USAGE,
                f"{', '.join(missing)} not set: this agent was started without an operator to ask.",
            )
        if not _is_base_url(given["POOL_URL"]):
            raise CommandError(Exit.USAGE, "POOL_URL is not an http or https URL: it is set by who starts this agent.")
        token = own_token(environment)
        if not (token.isascii() and token.isprintable()):
            raise CommandError(Exit.USAGE, "OPENCLAW_GATEWAY_TOKEN cannot be sent: it is not printable ASCII.")
        return cls(given["POOL_URL"].rstrip("/"), given["INSTANCE_ID"], token)

    def post(self, path: str, body: Mapping[str, Any], *, deadline_seconds: float) -> Answer:
        """Ask, and give back a JSON object with a status below 400, or of a full pool; CommandError for all else."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            f"{self.url}{path}",
            data=json.dumps({"instanceId": self.instance_id, **body}).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": "agentpool-agent",
            },
            method="POST",
        )
        try:
            with _deadline(deadline_seconds), _open(request, deadline_seconds) as response:
                status, content = response.status, response.read(LARGEST_ANSWER + 1)
        except TimeoutError:
            raise _away(f"did not answer within {deadline_seconds:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, TimeoutError):
                raise _away(f"did not answer within {deadline_seconds:g} s") from None
            raise _away(f"cannot be reached ({type(reason).__name__})") from None
        return read_answer(status, content, token=self.token)


def read_answer(status: int, content: bytes, *, token: str) -> Answer:
    """A JSON object with a status below 400, or of a full pool; CommandError for all else."""
    if 300 <= status < 400:
        raise CommandError(
            Exit.USAGE, f"POOL_URL answers with a redirect ({status}), which is not followed: it must be final."
        )
    if status in _NO_SUCH_API:
        raise CommandError(
            Exit.REFUSED, f"The operator at POOL_URL does not offer this: it has no API for agents ({status})."
        )
    body = _object(content, token)
    if body is None:
        raise _away(f"answered {status} with something that no operator answers")
    answer = Answer(status, body)
    if status < 300 or body.get("status") == "pool_full":
        return answer
    told = answer.text("error") or "it did not say why"
    if status >= 500 or status in _AGAIN:
        raise _away(f"cannot do it now ({status}): {told}")
    raise CommandError(Exit.REFUSED, f"The operator refused ({status}): {told}")


def _object(content: bytes, token: str) -> Mapping[str, Any] | None:
    if len(content) > LARGEST_ANSWER:
        return None
    try:
        value = json.loads(content)
        # Nobody who can make the operator repeat the token gets it printed.
        value = json.loads(json.dumps(value).replace(json.dumps(token)[1:-1], "[token]"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _away(what: str) -> CommandError:
    return CommandError(Exit.UNREACHABLE, f"The operator at POOL_URL {what.rstrip('.')}. Try again later.")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could take the token anywhere."""

    def redirect_request(self, *_: object) -> None:
        return None


class _EveryStatus(urllib.request.HTTPErrorProcessor):
    """Whatever the status is, the answer is read."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


def _open(request: urllib.request.Request, seconds: float) -> Any:
    return urllib.request.build_opener(_NoRedirect, _EveryStatus).open(request, timeout=seconds)


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """One deadline for everything: a socket's timeout starts anew with every byte that drips in."""

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_text(source: IO[bytes], limit: int) -> str:
    """Read text of at most so many bytes, or raise CommandError."""
    content = source.read(limit + 1)
    if len(content) > limit:
        raise CommandError(Exit.USAGE, f"The instructions are longer than {limit} bytes: shorten them.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CommandError(Exit.USAGE, "The instructions are not UTF-8 text.") from None


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and not re.search(r"[\s\x00-\x1f\x7f]", url)
        )
    except ValueError:
        return False


def _one_line(text: str) -> str:
    """Text from elsewhere as one short line that does nothing to a terminal."""
    line = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(line.split())
    return line if len(line) <= LONGEST_SENTENCE else f"{line[:LONGEST_SENTENCE]}…"
