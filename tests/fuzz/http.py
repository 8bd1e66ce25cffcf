"""Requests as aiohttp's own parser makes them of bytes."""

import asyncio
from functools import cache

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from aiohttp.test_utils import make_mocked_request


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The one loop in which targets run that wait for something."""
    return asyncio.new_event_loop()


@cache
def _around() -> web.Request:
    """What a request needs besides its bytes."""
    return make_mocked_request("GET", "/")


def received(head: bytes, body: bytes, *, remote: str = "127.0.0.1") -> web.Request | None:
    """The request of a head, whose lines end with LF, and a body; ``None`` for what aiohttp itself refuses."""
    parser = HttpRequestParser(BaseProtocol(loop()), loop(), 2**16)
    lines = [line.rstrip(b"\r") for line in head.split(b"\n") if line.strip()]
    host = [] if any(line.lower().startswith(b"host:") for line in lines) else [b"Host: h"]
    raw = b"\r\n".join([*lines, *host, b"Content-Length: %d" % len(body), b"", body])
    try:
        messages, _, _ = parser.feed_data(raw)
    except (HttpProcessingError, ValueError):
        # Bytes of chance may be no request at all, or name a host that is none.
        return None
    if not messages:
        return None
    message, payload = messages[0]
    around = _around()
    return web.Request(
        message, payload, around.protocol, around.writer, around.task, loop(), client_max_size=2**20, remote=remote
    )
