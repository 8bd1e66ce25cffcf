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
    next_token: str | None = field(default=None, repr=False)
    """What is to open the runtime afterwards. In a header: those who know nothing of it ignore it."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers; ``ValueError`` when the token or the key cannot be one."""
        values = {"Authorization": f"Bearer {self.token}", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self.body is not None:
            values["Content-Type"] = "application/json"
        if self.key is not None:
            values["Idempotency-Key"] = self.key
        if self.next_token is not None:
            values["Agentpool-Next-Token"] = self.next_token
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


class _Session:
    """An aiohttp session that is opened when it is first needed, in the loop that needs it."""

    def __init__(self, resolver: AbstractResolver, *, keep: bool) -> None:
        self._resolver = resolver
        self._keep = keep
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit here: the wait for a connection would count into the deadline.
            connector = aiohttp.TCPConnector(
                limit=0,
                resolver=self._resolver,
                use_dns_cache=False,
                force_close=not self._keep,
                keepalive_timeout=IDLE_SECONDS if self._keep else None,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class Transport:
    """A lane of requests with connections of its own: lanes never wait for each other.

    ``concurrent`` requests run at once; the others wait outside of their deadline, so that nobody is called silent
    because others were. ``idle`` hosts keep a connection for ``IDLE_SECONDS``; with 0 every request has a fresh one,
    which cannot turn out to have been closed by the other side while the request was on its way.
    """

    def __init__(self, resolver: AbstractResolver, *, concurrent: int, idle: int, clock: Callable[[], float]) -> None:
        self._slots = asyncio.Semaphore(concurrent)
        self._idle = idle
        self._clock = clock
        self._kept: OrderedDict[str, float] = OrderedDict()
        self._keeping = _Session(resolver, keep=True)
        self._closing = _Session(resolver, keep=False)

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
        self._kept.clear()
        await self._keeping.close()
        await self._closing.close()

    async def _try(self, request: Request, seconds: float) -> Answer | Transient:
        if not _is_address(request.url):
            return Unanswered("its address is not an http or https URL without credentials and query", sent=False)
        try:
            headers = request.headers
        except ValueError:
            return Unanswered("its token or the claim's key holds characters that no header can carry", sent=False)
        session = self._keeping if self._may_keep(request.url) else self._closing
        try:
            async with asyncio.timeout(seconds):
                return await _exchange(session.open(), request, headers)
        except TimeoutError:
            return Unanswered(f"it did not answer within {seconds:g} s", sent=True)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _explained(error)

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


async def _exchange(session: aiohttp.ClientSession, request: Request, headers: dict[str, str]) -> Answer | Transient:
    # From a file, a large body is written piece by piece.
    data = BytesIO(request.body) if request.body is not None and len(request.body) > LARGEST_WRITE else request.body
    async with session.request(
        request.method, request.url, data=data, headers=headers, allow_redirects=False
    ) as response:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > LARGEST_ANSWER:
                return Unanswered(f"its answer is larger than {LARGEST_ANSWER >> 20} MiB", sent=True)
        return Answer(
            status=response.status,
            content_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            body=bytes(body),
            retry_after=retry_seconds(response.headers.get("Retry-After", "")),
        )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return usable and parts.username is None and not (parts.query or parts.fragment)


def retry_seconds(retry_after: str) -> float | None:
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
