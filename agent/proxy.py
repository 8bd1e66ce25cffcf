"""The way through to the gateway: HTTP streamed in both directions, and WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from agent.convos import PortOfGateway
from agent.errors import AgentError
from agent.exchange import Exchange
from agent.log import Log
from agent.self_destruct import SENT_BY_A_PROXY, is_loopback

LARGEST_WEBSOCKET_MESSAGE = 32 * 1024 * 1024
CONNECT_DEADLINE_SECONDS = 5.0
CLOSE_DEADLINE_SECONDS = 2.0
_AWAY = "The gateway is away: it is starting, restarting or has crashed."
# Of one connection, not of the message (RFC 9110, 7.6.1). Expect is answered by this server itself.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_WEBSOCKET_HANDSHAKE = "sec-websocket-"
# Both of these close codes mean "none was received" and must not be sent.
_UNSENDABLE = {1005: 1000, 1006: 1011}

WebSocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


class Proxy:
    """Forwards a request to the gateway as it is, less what belongs to one hop; tokens are exchanged."""

    def __init__(self, session: aiohttp.ClientSession, gateway: PortOfGateway, exchange: Exchange, log: Log) -> None:
        self._session = session
        self._gateway = gateway
        self._exchange = exchange
        self._log = log

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Answer what the gateway answers; AgentError 502 while it is away."""
        port = self._gateway.port
        if port is None:
            raise AgentError(502, _AWAY)
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/"):
            raise AgentError(400, "The request target is not a path.")
        # Built from the raw path, so that nothing is decoded or normalised on the way.
        url = URL.build(scheme="http", host="127.0.0.1", port=port, path=path, query_string=query, encoded=True)
        forward = self._websocket if _asks_for_websocket(request) else self._http
        if not self._exchange.outer.opens(request):
            return await forward(request, url)
        with self._exchange.outer.held_open(request):
            return await forward(request, url)

    def _headers(self, request: web.Request) -> CIMultiDict[str]:
        return self._exchange.headers(request, forwarded_headers(request))

    async def _http(self, request: web.Request, url: URL) -> web.StreamResponse:
        try:
            upstream = await self._session.request(
                request.method,
                url,
                headers=self._headers(request),
                data=request.content if request.can_read_body else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_DEADLINE_SECONDS),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._log.warning("the gateway did not take a request", reason=type(error).__name__)
            raise AgentError(502, _AWAY) from error
        async with upstream:
            response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
            response.headers.extend(_end_to_end(upstream.headers))
            await response.prepare(request)
            try:
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            except (aiohttp.ClientError, OSError) as error:
                # Half an answer is out: only cutting the connection tells the client that it is not whole.
                self._log.warning("an answer of the gateway was cut short", reason=type(error).__name__)
                if request.transport is not None:
                    request.transport.abort()
            else:
                await response.write_eof()
            return response

    async def _websocket(self, request: web.Request, url: URL) -> web.StreamResponse:
        offered = [
            name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()
        ]
        try:
            upstream = await self._session.ws_connect(
                url,
                protocols=offered,
                headers=self._headers(request),
                autoclose=False,
                autoping=False,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_DEADLINE_SECONDS),
                max_msg_size=LARGEST_WEBSOCKET_MESSAGE,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise AgentError(_refused_status(error.status), "The gateway refused the WebSocket.") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AgentError(502, _AWAY) from error
        try:
            downstream = web.WebSocketResponse(
                protocols=[upstream.protocol] if upstream.protocol else [],
                timeout=CLOSE_DEADLINE_SECONDS,
                autoclose=False,
                autoping=False,
                compress=False,
                max_msg_size=LARGEST_WEBSOCKET_MESSAGE,
            )
            await downstream.prepare(request)
            with ExitStack() as held:

                def introduced(text: str) -> str:
                    exchanged = self._exchange.first_message(text)
                    if exchanged is None:
                        return text
                    held.enter_context(self._exchange.outer.held_open(request))
                    return exchanged

                await _join(downstream, upstream, introduced)
            return downstream
        finally:
            await upstream.close()


async def _join(
    downstream: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse, introduced: Callable[[str], str]
) -> None:
    """Carry messages both ways until either side closes, then close the other with the same code.

    The client's first text is sent as ``introduced`` makes it.
    """
    up = asyncio.create_task(_pump(downstream, upstream, introduced))
    down = asyncio.create_task(_pump(upstream, downstream, None))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        code, reason = (up if up.done() else down).result()
        ended, other = (downstream, upstream) if up.done() else (upstream, downstream)
    finally:
        up.cancel()
        down.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
    # The other side first: whoever is answered hangs up, and this handler is cancelled.
    for side in (other, ended):
        await side.close(code=_UNSENDABLE.get(code, code), message=reason)


async def _pump(source: WebSocket, target: WebSocket, first: Callable[[str], str] | None) -> tuple[int, bytes]:
    """Carry messages one way; the close code and reason with which the source ended."""
    while True:
        message = await source.receive()
        try:
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    await target.send_str(message.data if first is None else first(message.data))
                    first = None
                case aiohttp.WSMsgType.BINARY:
                    await target.send_bytes(message.data)
                case aiohttp.WSMsgType.PING:
                    await target.ping(message.data)
                case aiohttp.WSMsgType.PONG:
                    await target.pong(message.data)
                case aiohttp.WSMsgType.CLOSE:
                    return message.data or 1005, (message.extra or "").encode()
                case _:
                    return source.close_code or 1006, b""
        except (aiohttp.ClientError, OSError):
            return 1006, b""


def _asks_for_websocket(request: web.Request) -> bool:
    options = {option.strip().lower() for option in request.headers.get("Connection", "").split(",")}
    return "upgrade" in options and request.headers.get("Upgrade", "").lower() == "websocket"


def _end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    named = {option.strip().lower() for value in headers.getall("Connection", ()) for option in value.split(",")}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in _HOP_BY_HOP and name.lower() not in named
    )


def forwarded_headers(request: web.Request) -> CIMultiDict[str]:
    """The end-to-end headers, and who asked: the gateway must not take a proxied peer for a local one.

    A process inside the instance that speaks for nobody else is one: OpenClaw refuses an address that claims to be
    forwarded and is the loopback's.
    """
    headers = CIMultiDict(
        (name, value)
        for name, value in _end_to_end(request.headers).items()
        if not name.lower().startswith(_WEBSOCKET_HANDSHAKE)
    )
    if is_loopback(request.remote) and not any(name in request.headers for name in SENT_BY_A_PROXY):
        return headers
    chain = [*request.headers.getall("X-Forwarded-For", ()), request.remote or "unknown"]
    headers["X-Forwarded-For"] = ", ".join(chain)
    headers.setdefault("X-Forwarded-Proto", request.scheme)
    headers.setdefault("X-Forwarded-Host", request.host)
    return headers


def _refused_status(status: int) -> int:
    return status if 400 <= status < 600 else 502
