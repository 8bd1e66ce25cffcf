"""The bearer token of this instance: the one that it was launched with, until a provision request brings another."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from agent.errors import AgentError
from agent.wire import bears

HEADER = "Agentpool-Next-Token"
"""Of a provision request: the token that counts from then on. A header, since a stranger's runtime ignores it."""
_USABLE = re.compile(r"[A-Za-z0-9._~+/=-]{32,512}")


class InstanceToken:
    """The one token that opens this instance from outside, now."""

    def __init__(self, launched_with: str, taken_up: str | None) -> None:
        self._current = taken_up or launched_with
        self._opened: set[asyncio.Transport] = set()

    @property
    def current(self) -> str:
        """What opens it."""
        return self._current

    def require(self, request: web.Request) -> None:
        """Raise 401 unless the request carries it."""
        if not self.opens(request):
            raise AgentError(401, "The bearer token is missing or wrong: send this instance's own token.")

    def opens(self, request: web.Request) -> bool:
        """Whether the request carries it."""
        return bears(request, self._current)

    def take_up(self, token: str) -> None:
        """From now on only this one counts: what the former one has opened and is still open is cut."""
        if token == self._current:
            return
        self._current = token
        for transport in self._opened:
            transport.abort()

    @contextmanager
    def held_open(self, request: web.Request) -> Iterator[None]:
        """While the block runs, the request's connection is one that the current token has opened."""
        transport = request.transport
        if transport is None:
            yield
            return
        self._opened.add(transport)
        try:
            yield
        finally:
            self._opened.discard(transport)


def next_token(request: web.Request) -> str | None:
    """The token that the request brings for later, if it brings one; 400 when it cannot be one."""
    token = request.headers.get(HEADER)
    if token is not None and not _USABLE.fullmatch(token):
        raise AgentError(400, f"{HEADER} is not usable: send 32 to 512 letters, digits and . _ ~ + / = -.")
    return token
