"""The HTTP face of an instance: /pool/* answered here, everything else by the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from agent import __version__
from agent.convos import ConvosClient, GatewayAwayError, PortOfGateway
from agent.errors import AgentError
from agent.exchange import Exchange
from agent.gateway import Gateway
from agent.instructions import InstructionFiles
from agent.log import Log
from agent.provision_record import ProvisionStore
from agent.provision_request import ProvisionRequest
from agent.provisioner import Provisioner
from agent.proxy import Proxy
from agent.self_destruct import require_local, tell_pool
from agent.settings import Settings
from agent.token import next_token
from agent.wire import answer, errors_as_sentences

LARGEST_BODY = 1024 * 1024
LONGEST_KEY = 255
_METHODS = {"/pool/health": "GET", "/pool/provision": "POST", "/pool/self-destruct": "POST"}
_CLOSE_SECONDS = 1.0


class PoolRoutes:
    """The runtime contract: health, provision, self-destruct."""

    def __init__(
        self,
        settings: Settings,
        runtime: str,
        convos: ConvosClient,
        provisioner: Provisioner,
        session: aiohttp.ClientSession,
        end: Callable[[], None],
        log: Log,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._convos = convos
        self._provisioner = provisioner
        self._session = session
        self._end = end
        self._log = log

    def add_to(self, app: web.Application) -> None:
        """Register the routes; whatever else is under /pool/ does not exist."""
        app.router.add_get("/pool/health", self.health)
        app.router.add_post("/pool/provision", self.provision)
        app.router.add_post("/pool/self-destruct", self.self_destruct)
        # Asked last, so it also sees the wrong method on a known path.
        app.router.add_route("*", "/pool{rest:(/.*)?}", self.nothing)

    async def health(self, request: web.Request) -> web.Response:
        """Ready only when the gateway answers in the shape of the contract."""
        try:
            status = await self._convos.status()
        except GatewayAwayError:
            return answer({"ready": False}, status=503)
        if not status.ready:
            return answer({"ready": False}, status=503)
        clean = status.clean and not self._provisioner.touched
        return answer({"ready": True, "version": __version__, "runtime": self._runtime, "clean": clean})

    async def provision(self, request: web.Request) -> web.Response:
        """Bind this instance to its one conversation."""
        self._provisioner.token.require(request)
        key, token = idempotency_key(request), next_token(request)
        body = ProvisionRequest.parse(await request.read(), self._settings.network)
        done = await self._provisioner.provision(key, body, token)
        return answer(done.body(token_rotated=self._provisioner.rotated))

    async def self_destruct(self, request: web.Request) -> web.StreamResponse:
        """Tell the pool, answer, and end."""
        require_local(request)
        self._log.info("self-destruction was asked for")
        if self._settings.pool_url is not None:
            await tell_pool(
                self._session,
                self._settings.pool_url,
                instance_id=self._settings.instance_id,
                token=self._provisioner.token.current,
                log=self._log,
            )
        response = answer({"ok": True})
        await response.prepare(request)
        await response.write_eof()
        self._end()
        return response

    async def nothing(self, request: web.Request) -> web.Response:
        """An unknown path under /pool/ never reaches the gateway."""
        method = _METHODS.get(request.path)
        if method is not None:
            raise web.HTTPMethodNotAllowed(request.method, [method])
        raise AgentError(404, "Nothing is served at this path.")


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that serves: the port it listens on, and what it may be in the middle of."""

    port: int
    provisioner: Provisioner


@asynccontextmanager
async def serving(
    settings: Settings, kind: Gateway, gateway: PortOfGateway, *, end: Callable[[], None], log: Log
) -> AsyncIterator[Serving]:
    """Serve until the block is left."""
    # One connection per request: on loopback it costs nothing, and no request ever meets a connection
    # that a crashed gateway left behind.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=65536,
        max_field_size=65536,
    ) as session:
        convos = ConvosClient(session, gateway, kind.token, settings.network, readiness_path=kind.readiness_path)
        instructions = InstructionFiles(settings.state_dir / "workspace", kind.instruction_blocks)
        provisioner = Provisioner(settings.token, convos, ProvisionStore(settings.state_dir), instructions, log)
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[errors_as_sentences(log)])
        PoolRoutes(settings, kind.name, convos, provisioner, session, end, log).add_to(app)
        exchange = Exchange(provisioner.token, kind.token)
        app.router.add_route("*", "/{rest:.*}", Proxy(session, gateway, exchange, log).forward)
        # A caller who hangs up cancels its handler, so that an idle stream does not stay open upstream.
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=_CLOSE_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port)
            await site.start()
            yield Serving(port=runner.addresses[0][1], provisioner=provisioner)
        finally:
            await runner.cleanup()


def idempotency_key(request: web.Request) -> str | None:
    """The key under which a repeated order is the same one; None without. Raise 400 when it is not usable."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise AgentError(400, f"Idempotency-Key is not usable: send at most {LONGEST_KEY} printable ASCII characters.")
    return key or None
