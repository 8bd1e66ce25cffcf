"""The way in by a domain: to the program of a service, which is woken if it sleeps."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.railway.counts import Counts
from tests.railway.deployments import Deployments
from tests.railway.faults import Fault, Faults
from tests.railway.life import Life
from tests.railway.records import Domain, Instance
from tests.railway.settings import Settings
from tests.railway.variables import DEFAULT_PORT
from tests.railway.world import EDGE_SUFFIX, World

PREFIX = "/_edge/"
"""A second way in, ``/_edge/<domain>/``, for who cannot resolve such domains."""
HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host"})
ENCODED = frozenset({"content-encoding", "content-length"})
LOOK = 0.02


class Edge:
    """Forwards HTTP and WebSockets."""

    def __init__(
        self, world: World, deployments: Deployments, settings: Settings, faults: Faults, counts: Counts
    ) -> None:
        self._world = world
        self._deployments = deployments
        self._settings = settings
        self._faults = faults
        self._counts = counts
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        self._session = aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @staticmethod
    def domain_of(request: web.Request) -> str | None:
        """The domain that a request is for; None: it is for the API."""
        host = request.host.partition(":")[0].lower()
        if host.endswith(EDGE_SUFFIX):
            return host
        return request.path.removeprefix(PREFIX).partition("/")[0] if request.path.startswith(PREFIX) else None

    async def handle(self, request: web.Request, name: str) -> web.StreamResponse:
        """Bring a request to where it belongs, and the answer back."""
        self._counts.edge[name] += 1
        instance = self._world.by_domain(name)
        life = None if instance is None else self._deployments.life_of(instance)
        if instance is None or life is None:
            return _refuse(404, "Application not found")
        domain = next(each for each in instance.domains if each.domain == name)
        if self._faults.strikes(Fault.DOMAIN_DOWN, name):
            return _refuse(502, "Application failed to respond")
        life.open_requests += 1
        try:
            if life.deployment.status == "SLEEPING" and not self._settings.waking_answers:
                life.wake.set()
                return _refuse(404, "Application not found")
            await self._wake(life)
            if life.container is None or not _listens(instance, domain):
                return _refuse(502, "Application failed to respond")
            target = f"http://127.0.0.1:{life.container.port}{_path(request, name)}"
            try:
                return await self._forward(request, URL(target, encoded=True))
            except (aiohttp.ClientError, ConnectionError):
                return _refuse(502, "Application failed to respond")
        finally:
            life.open_requests -= 1
            life.traffic = asyncio.get_running_loop().time()

    async def _wake(self, life: Life) -> None:
        """Start a sleeper, and wait until it listens."""
        if life.deployment.status != "SLEEPING":
            return
        life.wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.waking):
                while _is_coming(life) and not await _answers(life):  # noqa: ASYNC110 - another process listens, and tells nobody
                    await asyncio.sleep(LOOK)

    async def _forward(self, request: web.Request, url: URL) -> web.StreamResponse:
        assert self._session is not None
        headers = _passed(request.headers, lambda name: name in HOP_BY_HOP or name.startswith("sec-websocket-"))
        headers.update({"X-Forwarded-Host": request.host, "X-Forwarded-Proto": "https", "Host": request.host})
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._splice(request, url, headers)
        body = request.content if request.body_exists else None
        async with self._session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            passed = _passed(answer.headers, lambda name: name in HOP_BY_HOP)
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=passed)
            await response.prepare(request)
            try:
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            except (aiohttp.ClientError, ConnectionError):
                # Half of it is there already, so nothing but the end of the connection can tell that it is half.
                if request.transport is not None:
                    request.transport.abort()
            return response

    async def _splice(self, request: web.Request, url: URL, headers: CIMultiDict[str]) -> web.StreamResponse:
        assert self._session is not None
        wanted = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [each.strip() for each in wanted.split(",") if each.strip()]
        async with self._session.ws_connect(url, headers=headers, protocols=protocols, max_msg_size=0) as inner:
            outer = web.WebSocketResponse(protocols=[inner.protocol] if inner.protocol else [], max_msg_size=0)
            await outer.prepare(request)
            pumps = [asyncio.create_task(_pump(outer, inner)), asyncio.create_task(_pump(inner, outer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            await outer.close(code=inner.close_code or aiohttp.WSCloseCode.OK)
            return outer


WebSocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: WebSocket, sink: WebSocket) -> None:
    while True:
        message = await source.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        else:
            return


def _path(request: web.Request, domain: str) -> str:
    start = f"{PREFIX}{domain}"
    path = request.raw_path.removeprefix(start) if request.path.startswith(start) else request.raw_path
    return path if path.startswith("/") else f"/{path}"


def _listens(instance: Instance, domain: Domain) -> bool:
    """Whether the domain leads to the port on which the program was told to listen."""
    variables = instance.config.get("variables", {})
    port = variables.get("PORT", {}).get("value", DEFAULT_PORT)
    return domain.target_port is None or str(domain.target_port) == port


def _passed(headers: CIMultiDictProxy[str], hop: Callable[[str], bool]) -> CIMultiDict[str]:
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        if not hop(name.lower()):
            passed.add(name, value)
    return passed


def _refuse(status: int, message: str) -> web.Response:
    content = {"status": "error", "code": status, "message": message, "request_id": "0" * 22}
    return web.json_response(content, status=status, headers={"X-Railway-Fallback": "true"} if status == 404 else {})


def _is_coming(life: Life) -> bool:
    """Whether there is hope that it will listen."""
    return life.deployment.status == "SLEEPING" or (life.deployment.status == "SUCCESS" and not life.deployment.stopped)


async def _answers(life: Life) -> bool:
    if life.container is None or life.deployment.status == "SLEEPING":
        return False
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", life.container.port)
    except OSError:
        return False
    writer.close()
    return True
