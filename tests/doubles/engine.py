"""A Docker engine that says what it was told to say, whatever it is asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from yarl import URL

from controller.backends.docker.address import read_address
from controller.backends.docker.answers import value_in
from controller.backends.docker.engine import Engine

STAT = "X-Docker-Container-Path-Stat"


class ToldEngine(Engine):
    """Answers every ``get`` with the same JSON, and every ``stream`` with the same bytes and what a path is."""

    def __init__(self, answer: bytes, *, stat: str | None = None, stream: bytes = b"") -> None:
        super().__init__(read_address({}))
        self._answer = answer
        self._headers = {STAT: stat} if stat is not None else {}
        self._stream = stream

    async def get(self, path: str, **params: str) -> Any:
        return value_in(self._answer, f"an answer to GET {path}")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        # A real one has to be asked at a URL.
        URL(f"http://engine/{path}").update_query(params or {})
        loop = asyncio.get_running_loop()
        content = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        content.feed_data(self._stream)
        content.feed_eof()
        response: Any = SimpleNamespace(headers=self._headers, content=content)
        yield response
