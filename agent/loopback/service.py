"""The HTTP face of the loopback service: the convos contract, and three hooks of its own.

The hooks are for tests and demonstrations: `POST /convos/accept` plays the owner who accepts a join that waits,
`GET /convos/messages` lists the messages, and `GET /convos/stream` is a WebSocket that sends every message as JSON
and takes each text it receives as a message of the other participant.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from agent.errors import AgentError
from agent.log import Log
from agent.loopback.account import Account, Profile
from agent.loopback.faults import Faults
from agent.provision_request import metadata_in
from agent.settings import Network
from agent.wire import Handler, answer, bears, errors_as_sentences, read_object

DEFAULT_NAME = "OpenClaw"
LARGEST_BODY = 2 * 1024 * 1024
_PAGE = "<!doctype html><title>OpenClaw</title><p>Gateway.</p>"


class Service:
    """Answers /convos/* from the account."""

    def __init__(self, account: Account, *, token: str | None, network: Network, faults: Faults, log: Log) -> None:
        self._account = account
        self._token = token
        self._network = network
        self._faults = faults
        self._log = log

    def application(self) -> web.Application:
        """The application with its routes."""
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[errors_as_sentences(self._log), self._known()])
        if not self._faults.no_plugin:
            app.router.add_get("/convos/status", self.status)
            app.router.add_post("/convos/conversation", self.create)
            app.router.add_post("/convos/join", self.join)
            app.router.add_post("/convos/conversation/send", self.send)
            app.router.add_post("/convos/rename", self.rename)
            app.router.add_post("/convos/lock", self.lock)
            app.router.add_post("/convos/explode", self.explode)
            app.router.add_post("/convos/accept", self.accept)
            app.router.add_get("/convos/messages", self.messages)
            app.router.add_get("/convos/stream", self.stream)
        return app

    def _known(self) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.match_info.http_exception is None:
                if self._token is not None and not bears(request, self._token):
                    raise AgentError(401, "The bearer token is missing or wrong: send this gateway's own token.")
            elif request.match_info.http_exception.status == 404 and self._faults.html_fallback:
                return web.Response(text=_PAGE, content_type="text/html")
            return await handler(request)

        return middleware

    async def status(self, request: web.Request) -> web.Response:
        """GET /convos/status."""
        return answer(self._account.status())

    async def create(self, request: web.Request) -> web.Response:
        """POST /convos/conversation."""
        body = await read_object(request)
        self._check_network(body)
        profile = _profile(body)
        created = await self._account.create(_text(body, "name") or profile.name, profile)
        self._log.info("created a conversation", conversation=created["conversationId"])
        return answer(created)

    async def join(self, request: web.Request) -> web.Response:
        """POST /convos/join."""
        body = await read_object(request)
        self._check_network(body)
        link = _text(body, "inviteUrl")
        if link is None:
            raise AgentError(400, "inviteUrl is missing: give the invite link to join.")
        joined = await self._account.join(link, _profile(body))
        self._log.info("asked to join", status=joined["status"], conversation=joined.get("conversationId"))
        return answer(joined)

    async def send(self, request: web.Request) -> web.Response:
        """POST /convos/conversation/send."""
        text = _text(await read_object(request), "message")
        if text is None:
            raise AgentError(400, "message is missing: give the text to send.")
        return answer(self._account.send(text))

    async def rename(self, request: web.Request) -> web.Response:
        """POST /convos/rename."""
        name = _text(await read_object(request), "name")
        if name is None:
            raise AgentError(400, "name is missing: give the conversation's new name.")
        return answer(self._account.rename(name))

    async def lock(self, request: web.Request) -> web.Response:
        """POST /convos/lock."""
        unlock = (await read_object(request)).get("unlock", False)
        if not isinstance(unlock, bool):
            raise AgentError(400, "unlock is not true or false.")
        return answer(self._account.lock(unlock=unlock))

    async def explode(self, request: web.Request) -> web.Response:
        """POST /convos/explode."""
        exploded = self._account.explode()
        self._log.info("the conversation was destroyed")
        return answer(exploded)

    async def accept(self, request: web.Request) -> web.Response:
        """POST /convos/accept, a hook."""
        return answer(self._account.accept())

    async def messages(self, request: web.Request) -> web.Response:
        """GET /convos/messages, a hook."""
        return answer({"messages": self._account.messages()})

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        """GET /convos/stream, a hook."""
        listener = self._account.listen()
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        sending = asyncio.create_task(_send_all(socket, listener))
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._account.send(message.data, sender="participant")
        finally:
            self._account.unlisten(listener)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return socket

    def _check_network(self, body: dict[str, Any]) -> None:
        wanted = body.get("env", self._network)
        if wanted != self._network:
            raise AgentError(400, f"env does not match: this process runs in {self._network}.")


async def _send_all(socket: web.WebSocketResponse, listener: asyncio.Queue[dict[str, Any] | None]) -> None:
    while (message := await listener.get()) is not None:
        await socket.send_str(orjson.dumps(message).decode())
    await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY, message=b"the conversation was destroyed")


def _profile(body: dict[str, Any]) -> Profile:
    name = _text(body, "profileName") or _text(body, "name") or DEFAULT_NAME
    return Profile(name=name, image=_text(body, "profileImage"), metadata=metadata_in(body))


def _text(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise AgentError(400, f"{key} is not a string.")
    return value if value.strip() else None
