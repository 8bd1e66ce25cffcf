"""A runtime that does what a test tells it to: a real HTTP server on loopback."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, Literal, Self

import orjson
from aiohttp import web

from controller.ports import Endpoint

Protocol = Literal["pool", "convos"]
Script = Callable[["ScriptedRuntime", web.Request], Awaitable[web.StreamResponse]]
"""What to do with one request; ``ScriptedRuntime.behave`` is the one that does it well."""

TOKEN = "t0ken-0f-this-instance"
PAGE = b"<!doctype html><title>OpenClaw Control</title>"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class Bound:
    """The one conversation of an instance."""

    key: str
    conversation_id: str
    invite_url: str | None
    pending: bool


@dataclass(slots=True)
class ScriptedRuntime:
    """One instance, well-behaved in its protocol until ``script`` is set.

    A join link that holds ``wait=1`` waits for ``accept``.
    """

    protocol: Protocol = "pool"
    token: str = TOKEN
    status_shape: Literal["older", "newer"] = "newer"
    script: Script | None = None
    """Takes the place of good behaviour for every request but those of ``script_for``."""
    script_for: dict[str, Script] = field(default_factory=dict)
    """By path."""
    ready: bool = True
    dirty: bool = False
    rotates: bool = True
    """Whether it takes up the token that an order brings, as an older one does not."""
    taken_up: str | None = None
    bound: Bound | None = None
    conversations: Counter[str] = field(default_factory=Counter)
    """How many conversations were made for each key; the empty key where the protocol has none."""
    seen: list[Seen] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    """Requests that are being handled."""
    busiest: int = 0
    """The most that ever were at once."""
    connections: set[asyncio.BaseTransport] = field(default_factory=set)
    """Every connection that ever brought a request."""
    url: str = ""
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def endpoint(self) -> Endpoint:
        """Where it is, with its own token."""
        return Endpoint(self.url, self.protocol, self.token)

    def accept(self) -> None:
        """Play the owner of the conversation, who lets the agent in."""
        if self.bound is not None:
            self.bound.pending = False

    async def behave(self, request: web.Request) -> web.StreamResponse:
        """Answer as the contract has it."""
        if (request.method, request.path) == ("GET", "/pool/health") and self.protocol == "pool":
            return web.json_response({"ready": self.ready, "version": "1"}, status=200 if self.ready else 503)
        given = request.headers.get("Authorization", "").encode()
        if not compare_digest(given, f"Bearer {self.taken_up or self.token}".encode()):
            return _error(401, "the token is wrong")
        match request.method, request.path, self.protocol:
            case "GET", "/convos/status", _:
                return web.json_response(self._status())
            case "POST", "/pool/provision", "pool":
                return await self._provision(request)
            case "POST", "/convos/conversation" | "/convos/join", "convos":
                return await self._bind(request)
        # What OpenClaw's gateway does with paths that it does not know.
        return web.Response(body=PAGE, content_type="text/html")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        value = orjson.loads(body) if body else None
        self.seen.append(Seen(request.method, request.path, dict(request.headers), value))
        if request.transport is not None:
            self.connections.add(request.transport)
        self.running += 1
        self.busiest = max(self.busiest, self.running)
        try:
            script = self.script_for.get(request.path) or self.script
            return await (self.behave(request) if script is None else script(self, request))
        finally:
            self.running -= 1

    def _status(self) -> dict[str, Any]:
        bound = self.bound
        conversation_id = bound.conversation_id if bound is not None and not bound.pending else None
        if self.status_shape == "older":
            conversation = None if conversation_id is None else {"id": conversation_id}
            return {"ready": self.ready, "conversation": conversation, "streaming": conversation is not None}
        return {
            "conversationId": conversation_id,
            "inboxId": None if bound is None else "inbox-1",
            "pending": bound is not None and bound.pending,
            "clean": bound is None and not self.dirty,
        }

    async def _provision(self, request: web.Request) -> web.Response:
        order = await request.json()
        if not order.get("instructions"):
            return _error(400, "instructions is empty: say what the agent is to do")
        if not self.ready:
            return _error(503, "the gateway is not ready")
        key = request.headers.get("Idempotency-Key", "")
        if self.bound is not None and (self.bound.key != key or not key):
            return _error(409, "this instance belongs to another claim")
        if self.bound is None and self.rotates:
            self.taken_up = request.headers.get("Agentpool-Next-Token")
        bound = self.bound or self._make(key, order.get("joinUrl"))
        joining = "joinUrl" in order
        status = "pending_acceptance" if bound.pending else "joined" if joining else "created"
        return web.json_response(
            {
                "ok": True,
                "inviteUrl": bound.invite_url,
                "conversationId": None if bound.pending else bound.conversation_id,
                "joined": joining and not bound.pending,
                "status": status,
                **({} if self.taken_up is None else {"tokenRotated": True}),
            }
        )

    async def _bind(self, request: web.Request) -> web.Response:
        order = await request.json()
        if self.bound is not None or self.dirty:
            return _error(409, "this process is already bound to a conversation")
        if request.path == "/convos/conversation":
            bound = self._make("", None)
            answer = {"conversationId": bound.conversation_id, "inviteUrl": bound.invite_url, "inviteSlug": "slug"}
            return web.json_response(answer)
        if not order.get("inviteUrl"):
            return _error(400, "inviteUrl is empty")
        bound = self._make("", order["inviteUrl"])
        if bound.pending:
            return web.json_response({"status": "waiting_for_acceptance"})
        return web.json_response({"status": "joined", "conversationId": bound.conversation_id})

    def _make(self, key: str, join_url: str | None) -> Bound:
        self.conversations[key] += 1
        number = self.conversations.total()
        invite_url = f"https://dev.convos.org/v2?i=invite-{number}" if join_url is None else None
        self.bound = Bound(key, f"conversation-{number}", invite_url, pending="wait=1" in (join_url or ""))
        return self.bound


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def answers(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    """This JSON."""

    async def script(_runtime: ScriptedRuntime, _request: web.Request) -> web.StreamResponse:
        return web.json_response(value, status=status, headers=headers)

    return script


def answers_bytes(
    body: bytes, content_type: str = "application/json", *, status: int = 200, encoding: str = "identity"
) -> Script:
    """These bytes, as this type and encoding."""

    async def script(_runtime: ScriptedRuntime, _request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=body, status=status, headers={"Content-Type": content_type, "Content-Encoding": encoding}
        )

    return script


def redirects(to: str, status: int = 302) -> Script:
    """A redirect."""

    async def script(_runtime: ScriptedRuntime, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": to})

    return script


async def hangs(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Reads the request and says nothing."""
    await runtime.stopping.wait()
    return web.Response(status=503)


async def hangs_up(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Reads the request and closes the connection."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def acts_and_hangs(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Does what it was asked, and never says so."""
    await runtime.behave(request)
    return await hangs(runtime, request)


async def acts_and_hangs_up(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Does what it was asked, and closes the connection without saying so."""
    await runtime.behave(request)
    return await hangs_up(runtime, request)


async def cuts_its_answer_short(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Promises more bytes than it sends."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"ok": true, "rea')
    assert request.transport is not None
    request.transport.close()
    return response


async def never_stops(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Answers without end, as fast as it is read."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while not runtime.stopping.is_set():
        await response.write(b" " * 65536)
    return response


async def drips(runtime: ScriptedRuntime, request: web.Request) -> web.StreamResponse:
    """Sends a byte at a time and so never lets the connection fall silent."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while not runtime.stopping.is_set():
        await response.write(b" ")
        await asyncio.sleep(0.01)
    return response


@asynccontextmanager
async def raw_server(answer: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """A server that answers a connection's first bytes with whatever ``answer`` makes of them, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(answer(await reader.read(65536)))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
