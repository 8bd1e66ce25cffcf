"""A way to a Docker engine on which things go wrong: a proxy on a unix socket that forwards, counts and disturbs."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path

import aiohttp
from aiohttp import web


class Fault(Enum):
    """What becomes of one call."""

    CUT_BEFORE = "the connection is lost before the engine heard of it"
    CUT_AFTER = "the connection is lost after the engine has done it"
    FAIL_BEFORE = "500, and the engine never heard of it"
    FAIL_AFTER = "500, and the engine has done it"
    FORGET = "204, and the engine never hears of it"
    MISS = "404, and the engine never heard of it"
    STRAY = "404 of a router in between, and the engine never heard of it"
    HANG_BEFORE = "the engine never heard of it, and no answer comes"
    HANG_AFTER = "the engine has done it, and no answer comes"
    HOLD = "it reaches the engine only when it is released, and nobody waits for the answer"


Rule = Callable[[str, str], Fault | None]
"""Decides by method and path."""


class Proxy:
    """In front of one engine. Streams of events are forwarded, and not counted."""

    def __init__(self, engine: str, path: Path) -> None:
        self.host = f"unix://{path}"
        self.calls: list[str] = []
        self.rule: Rule = lambda method, path: None
        self.down = False
        """Every call is cut, and nothing forwarded."""
        self.mute = False
        """Streams of events are opened, and nothing comes through."""
        self.muted = 0
        self.release = asyncio.Event()
        """What is held goes on, what hangs is cut."""
        self.held: list[asyncio.Task[int]] = []
        """Each ends with the status of the engine's answer."""
        self._path = path
        self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(engine.removeprefix("unix://"), limit=0))
        self._streams: dict[int, web.Request] = {}
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start(self) -> None:
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._path)).start()

    async def close(self) -> None:
        self.release.set()
        if self.held:
            await asyncio.wait(self.held)
        self.cut_streams()
        await self._runner.cleanup()
        await self._session.close()

    def cut_streams(self) -> None:
        """Break every stream of events."""
        for request in list(self._streams.values()):
            _cut(request)

    def fault_once(self, method: str, ending: str, fault: Fault) -> None:
        """Let the next such call go wrong."""

        def rule(its_method: str, its_path: str) -> Fault | None:
            if its_method != method or not its_path.endswith(ending):
                return None
            self.rule = lambda method, path: None
            return fault

        self.rule = rule

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            _cut(request)
            return web.Response()
        if request.path.endswith("/events"):
            return await self._stream(request)
        body = await request.read()
        self.calls.append(f"{request.method} {request.path}")
        fault = self.rule(request.method, request.path)
        return await (self._forward(request, body) if fault is None else self._disturb(fault, request, body))

    async def _disturb(self, fault: Fault, request: web.Request, body: bytes) -> web.Response:
        match fault:
            case Fault.CUT_BEFORE:
                _cut(request)
            case Fault.CUT_AFTER:
                await self._forward(request, body)
                _cut(request)
            case Fault.FAIL_BEFORE:
                return web.json_response({"message": "something went wrong"}, status=500)
            case Fault.FAIL_AFTER:
                await self._forward(request, body)
                return web.json_response({"message": "something went wrong"}, status=500)
            case Fault.FORGET:
                return web.Response(status=204)
            case Fault.MISS:
                return web.json_response({"message": "No such container"}, status=404)
            case Fault.STRAY:
                return web.Response(status=404, text="404 page not found\n")
            case Fault.HANG_BEFORE:
                await self.release.wait()
                _cut(request)
            case Fault.HANG_AFTER:
                await self._forward(request, body)
                await self.release.wait()
                _cut(request)
            case Fault.HOLD:
                self.held.append(asyncio.create_task(self._forward_later(request, body)))
                _cut(request)
        return web.Response()

    async def _forward_later(self, request: web.Request, body: bytes) -> int:
        await self.release.wait()
        return (await self._forward(request, body)).status

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        url = f"http://localhost{request.raw_path}"
        headers = {
            name: request.headers[name] for name in ("Content-Type", "X-Registry-Auth") if name in request.headers
        }
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            content = await answer.read()
            kind = answer.headers.get("Content-Type")
            return web.Response(status=answer.status, body=content, headers={"Content-Type": kind} if kind else {})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self._streams[id(request)] = request
        response = web.StreamResponse()
        try:
            async with self._session.get(f"http://localhost{request.raw_path}") as answer:
                response.headers["Date"] = answer.headers["Date"]
                await response.prepare(request)
                if self.mute:
                    self.muted += 1
                    await asyncio.Event().wait()
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
        except (OSError, aiohttp.ClientError):
            _cut(request)
        finally:
            self._streams.pop(id(request))
        return response


@asynccontextmanager
async def proxy_to(engine: str) -> AsyncIterator[Proxy]:
    """A proxy in front of an engine."""
    folder = Path(tempfile.mkdtemp(prefix="ap-"))
    proxy = Proxy(engine, folder / "proxy.sock")
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
        shutil.rmtree(folder)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
