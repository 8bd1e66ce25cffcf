"""One HTTP request to a program that is not to be trusted: bounded in time, size and connections."""

import asyncio
import errno
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from controller.errors import Transient

LARGEST_ANSWER = 1 << 20
LARGEST_WRITE = 1 << 16
IDLE_SECONDS = 15.0
LONGEST_RETRY_AFTER = 3600
_OWN_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class Unanswered(Transient):
    """No answer that could be read. ``sent``: the runtime may have read the request, and acted."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask, and with which token."""

    method: Literal["GET", "POST"]
    url: str
    token: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers; ``ValueError`` when the token or the key cannot be one."""
        values = {"Authorization": f"Bearer {self.token}", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self.body is not None:
            values["Content-Type"] = "application/json"
        if self.key is not None:
            values["Idempotency-Key"] = self.key
        if not all(value.isascii() and value.isprintable() for value in values.values()):
            raise ValueError
        return values


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of at most ``LARGEST_ANSWER`` bytes."""

    status: int
    content_type: str
    """In lower case, without parameters; empty when none was sent."""
    body: bytes = field(repr=False)
    retry_after: float | None = None

    @property
    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        return self.content_type == "application/json" or (
            self.content_type.startswith("application/") and self.content_type.endswith("+json")
        )

    @property
    def is_html(self) -> bool:
        """Whether it says that it is a page for people."""
        return self.content_type in {"text/html", "application/xhtml+xml"}


class Transport:
    """A lane of requests with connections of its own: lanes never wait for each other.

    ``concurrent`` requests run at once; the others wait outside of their deadline, so that nobody is called silent
    because others were. ``idle`` hosts keep a connection for ``IDLE_SECONDS``; with 0 every request has a fresh one,
    which cannot turn out to have been closed by the other side while the request was on its way.
    """

    def __init__(self, resolver: AbstractResolver, *, concurrent: int, idle: int, clock: Callable[[], float]) -> None:
        self._resolver = resolver
        self._slots = asyncio.Semaphore(concurrent)
        self._idle = idle
        self._clock = clock
        self._kept: OrderedDict[str, float] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, request: Request, *, timeout: float) -> Answer:  # noqa: ASYNC109 - the deadline of the order
        """Ask once; redirects are answers. ``Unanswered``, or another ``Transient`` for a shortage on this side."""
        async with self._slots:
            outcome = await self._try(request, timeout)
        # Raised here and not where it was caught: aiohttp's exceptions hold the request's headers, the token included,
        # and would travel along as the context.
        if isinstance(outcome, Transient):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Close every connection; a later request opens new ones."""
        session, self._session = self._session, None
        self._kept.clear()
        if session is not None:
            await session.close()

    async def _try(self, request: Request, seconds: float) -> Answer | Transient:
        if not _is_address(request.url):
            return Unanswered("its address is not an http or https URL without credentials and query", sent=False)
        try:
            headers = request.headers
        except ValueError:
            return Unanswered("its token or the claim's key holds characters that no header can carry", sent=False)
        keep = self._may_keep(request.url)
        if not keep:
            headers["Connection"] = "close"
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(request, headers, keep=keep)
        except TimeoutError:
            return Unanswered(f"it did not answer within {seconds:g} s", sent=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _explained(error)

    async def _exchange(self, request: Request, headers: dict[str, str], *, keep: bool) -> Answer | Transient:
        # From a file, a large body is written piece by piece.
        data = BytesIO(request.body) if request.body is not None and len(request.body) > LARGEST_WRITE else request.body
        response = await self._open_session().request(
            request.method, request.url, data=data, headers=headers, allow_redirects=False
        )
        try:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    return Unanswered(f"its answer is larger than {LARGEST_ANSWER >> 20} MiB", sent=True)
            return Answer(
                status=response.status,
                content_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                body=bytes(body),
                retry_after=_seconds(response.headers.get("Retry-After", "")),
            )
        finally:
            # Never the context manager: it waits for a request body that the other side does not care to read.
            # Closed by this side, because the other one may not honour the header.
            if keep:
                response.release()
            else:
                response.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Its own limit would count the wait for a connection into the deadline; the slots have done that.
            connector = aiohttp.TCPConnector(
                limit=0, keepalive_timeout=IDLE_SECONDS, resolver=self._resolver, use_dns_cache=False
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _may_keep(self, url: str) -> bool:
        """Whether the host may keep its connection: as many as may be idle at once, whoever comes first."""
        host = url.partition("://")[2].partition("/")[0]
        now = self._clock()
        while self._kept and next(iter(self._kept.values())) < now - IDLE_SECONDS:
            self._kept.popitem(last=False)
        if host not in self._kept and len(self._kept) >= self._idle:
            return False
        self._kept[host] = now
        self._kept.move_to_end(host)
        return True


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and parts.username is None and not (parts.query or parts.fragment)


def _seconds(retry_after: str) -> float | None:
    """The peer's wish; the form with a date is ignored."""
    if not (retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 10):
        return None
    return float(min(int(retry_after), LONGEST_RETRY_AFTER))


def _explained(error: Exception) -> Transient:
    """A sentence from the kind of the error alone: its text may hold anything."""
    match error:
        case OSError(errno=number) if number in _OWN_SHORTAGES:
            return Transient("the controller has no file descriptors, ports or memory left for another connection")
        case aiohttp.ClientConnectorDNSError():
            return Unanswered("its host name does not resolve", sent=False)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return Unanswered("its TLS certificate or handshake is not valid", sent=False)
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or type(error.os_error).__name__
            return Unanswered(f"no connection to it: {reason}", sent=False)
        case aiohttp.ClientPayloadError():
            return Unanswered("its answer was cut short", sent=True)
        case aiohttp.ClientConnectionError() | OSError():
            return Unanswered("it closed the connection without an answer", sent=True)
        case _:
            return Unanswered("its answer is not HTTP", sent=True)
