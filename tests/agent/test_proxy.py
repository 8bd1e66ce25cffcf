"""The way through: a real server in front of a real upstream, over sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.gateway import loopback
from agent.log import Log
from agent.proxy import forwarded_headers
from agent.server import Serving, serving
from agent.settings import Settings

TOKEN, INNER = "token-of-this-instance", "token-of-its-gateway"


@dataclass
class Upstream:
    """A gateway that shows what reached it, and does what gateways do."""

    port: int | None = None
    release: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    received: list[bytes] = field(default_factory=list)
    closed_with: tuple[int | None, Any] = (None, None)

    async def echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        shown = {
            "method": request.method,
            "path": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
        response = web.json_response(shown, status=207, reason="Shown")
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        response.headers["Keep-Alive"] = "timeout=9"
        response.headers["X-Private"] = "of this hop"
        response.headers["Connection"] = "X-Private"
        return response

    async def drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        await response.write(b"data: last\n\n")
        return response

    async def upload(self, request: web.Request) -> web.Response:
        async for chunk in request.content.iter_any():
            self.received.append(chunk)
            self.release.set()
        return web.json_response({"bytes": sum(map(len, self.received))})

    async def cut(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async def drop(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def redirect(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/echo"})

    async def packed(self, request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8b not really", headers={"Content-Encoding": "gzip"})

    async def empty(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("second",), autoping=False, max_msg_size=0)
        await socket.prepare(request)
        await socket.send_json({"authorization": request.headers.get("Authorization"), "path": request.raw_path})
        while True:
            message = await socket.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT if message.data == "close":
                    await socket.close(code=4001, message=b"as you wish")
                case aiohttp.WSMsgType.TEXT:
                    await socket.send_str(message.data)
                case aiohttp.WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
                case aiohttp.WSMsgType.PING:
                    await socket.pong(message.data)
                case _:
                    self.closed_with = (socket.close_code, message.extra)
                    self.gone.set()
                    return socket

    async def closed_socket(self, request: web.Request) -> web.Response:
        return web.json_response({"error": "no"}, status=401)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    app = web.Application(client_max_size=0)
    app.router.add_get("/drip", upstream.drip)
    app.router.add_post("/upload", upstream.upload)
    app.router.add_get("/cut", upstream.cut)
    app.router.add_route("*", "/drop", upstream.drop)
    app.router.add_get("/redirect", upstream.redirect)
    app.router.add_get("/packed", upstream.packed)
    app.router.add_get("/empty", upstream.empty)
    app.router.add_get("/socket", upstream.socket)
    app.router.add_get("/closed-socket", upstream.closed_socket)
    app.router.add_route("*", "/{rest:.*}", upstream.echo)
    runner = web.AppRunner(app, handler_cancellation=True, auto_decompress=False, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream.port = runner.addresses[0][1]
    yield upstream
    await runner.cleanup()


@pytest.fixture
async def server(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Serving]:
    settings = Settings(token=TOKEN, port=0, state_dir=tmp_path)
    gateway = replace(loopback(settings, {}), token=INNER)
    async with serving(settings, gateway, upstream, end=lambda: None, log=Log("agent")) as server:
        yield server


@pytest.fixture
def base(server: Serving) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_a_request_arrives_as_it_was_sent(client: aiohttp.ClientSession, base: str, method: str) -> None:
    headers = {"Authorization": "Bearer of the gateway", "X-Own": "kept", "Content-Encoding": "identity"}
    async with client.request(method, f"{base}/a%2Fb/?q=%20x&q=2", data=b"\x00\xffbody", headers=headers) as response:
        assert (response.status, response.reason) == (207, "Shown")
        shown = await response.json()
    assert (shown["method"], shown["path"], shown["body"]) == (method, "/a%2Fb/?q=%20x&q=2", "\x00ÿbody")
    seen = dict(shown["headers"])
    assert (seen["Authorization"], seen["X-Own"]) == ("Bearer of the gateway", "kept")


async def test_headers_of_one_hop_stop_here_in_both_directions(client: aiohttp.ClientSession, base: str) -> None:
    headers = {"Connection": "keep-alive, X-Hop", "X-Hop": "1", "TE": "trailers", "Proxy-Authorization": "Basic eDp5"}
    async with client.get(f"{base}/echo", headers=headers) as response:
        seen = {name.lower() for name, _ in (await response.json())["headers"]}
        assert seen.isdisjoint({"x-hop", "te", "proxy-authorization", "keep-alive"})
        assert response.headers.keys().isdisjoint({"Keep-Alive", "X-Private"})
        assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]


async def test_the_gateway_learns_that_a_peer_came_through_the_proxy(client: aiohttp.ClientSession, base: str) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "Host": "agent.example"}
    async with client.get(f"{base}/echo", headers=headers) as response:
        seen = dict((await response.json())["headers"])
    assert seen["X-Forwarded-For"] == "203.0.113.7, 127.0.0.1"
    assert (seen["X-Forwarded-Proto"], seen["X-Forwarded-Host"], seen["Host"]) == (
        "https",
        "agent.example",
        "agent.example",
    )


async def test_a_process_inside_the_instance_is_no_proxied_peer(client: aiohttp.ClientSession, base: str) -> None:
    async with client.get(f"{base}/echo") as response:
        seen = {name for name, _ in (await response.json())["headers"]}
    assert seen.isdisjoint({"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"})


@pytest.mark.parametrize(
    ("peer", "headers", "chain"),
    [
        pytest.param("203.0.113.7", {}, "203.0.113.7", id="somebody outside"),
        pytest.param("203.0.113.7", {"X-Forwarded-For": "::1"}, "::1, 203.0.113.7", id="somebody who pretends"),
        pytest.param("::1", {"X-Forwarded-For": "203.0.113.7"}, "203.0.113.7, ::1", id="a proxy on this host"),
        pytest.param("127.0.0.1", {"Via": "1.1 proxy"}, "127.0.0.1", id="a proxy that says nothing more"),
    ],
)
def test_everybody_else_is_named_to_the_gateway(peer: str, headers: dict[str, str], chain: str) -> None:
    # Nobody can connect to a test from outside.
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=peer)
    assert forwarded_headers(request)["X-Forwarded-For"] == chain


async def test_an_answer_is_passed_on_while_it_is_still_being_made(
    client: aiohttp.ClientSession, base: str, upstream: Upstream
) -> None:
    async with client.get(f"{base}/drip") as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readany() == b"data: first\n\n"
        upstream.release.set()
        assert await response.content.read() == b"data: last\n\n"


async def test_a_client_that_hangs_up_ends_the_stream_upstream(
    client: aiohttp.ClientSession, base: str, upstream: Upstream
) -> None:
    async with client.get(f"{base}/drip") as response:
        await response.content.readany()
        response.close()
    async with asyncio.timeout(30):
        await upstream.gone.wait()


async def test_an_upload_is_passed_on_while_it_is_still_being_sent(
    client: aiohttp.ClientSession, base: str, upstream: Upstream
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"first"
        await upstream.release.wait()
        yield b"last"

    async with asyncio.timeout(30), client.post(f"{base}/upload", data=chunks()) as response:
        assert await response.json() == {"bytes": 9}
    assert upstream.received[0] == b"first"


async def test_a_body_larger_than_a_provision_may_be_passes(client: aiohttp.ClientSession, base: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    headers = {"Content-Length": str(40 * 65536)}
    async with client.post(f"{base}/upload", data=chunks(), headers=headers) as response:
        assert await response.json() == {"bytes": 40 * 65536}


async def test_answers_without_a_body_keep_their_form(client: aiohttp.ClientSession, base: str) -> None:
    async with client.get(f"{base}/empty") as response:
        assert (response.status, await response.read()) == (204, b"")
    async with client.head(f"{base}/packed") as response:
        assert (response.status, response.headers["Content-Encoding"]) == (200, "gzip")
    async with client.get(f"{base}/redirect", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/echo")


async def test_encoded_bytes_are_not_touched(client: aiohttp.ClientSession, base: str) -> None:
    async with client.get(f"{base}/packed") as response:
        assert await response.read() == b"\x1f\x8b not really"
    async with client.post(f"{base}/echo", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}) as response:
        assert (await response.json())["body"] == "\x1f\x8b"


async def test_an_answer_cut_short_upstream_is_cut_short_here(client: aiohttp.ClientSession, base: str) -> None:
    async with client.get(f"{base}/cut") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_gateway_that_drops_a_request_is_a_502(client: aiohttp.ClientSession, base: str) -> None:
    async with client.post(f"{base}/drop", data=b"x") as response:
        assert (response.status, response.content_type) == (502, "application/json")
        assert "away" in (await response.json())["error"]


@pytest.mark.parametrize("headers", [{}, {"Connection": "Upgrade", "Upgrade": "websocket"}], ids=["HTTP", "WebSocket"])
async def test_a_gateway_that_is_away_is_a_502(
    client: aiohttp.ClientSession, base: str, upstream: Upstream, unused_tcp_port: int, headers: dict[str, str]
) -> None:
    for port in (None, unused_tcp_port):
        upstream.port = port
        async with client.get(f"{base}/socket", headers=headers) as response:
            assert (response.status, response.content_type) == (502, "application/json")


@pytest.mark.parametrize("target", ["http://example.com/echo", "//example.com/echo", "/echo?u=http://example.com/"])
async def test_no_request_target_leads_elsewhere(base: str, upstream: Upstream, target: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base.rpartition(":")[2]))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert b" 207 " in head.split(b"\r\n")[0] or b" 400 " in head.split(b"\r\n")[0]
    if b" 207 " in head:
        assert json.loads(body)["path"].endswith(target.partition("example.com")[2] or target)


async def test_a_websocket_carries_text_bytes_and_pings_both_ways(client: aiohttp.ClientSession, base: str) -> None:
    headers = {"Authorization": "Bearer of the gateway"}
    async with client.ws_connect(
        f"{base}/socket?room=1", protocols=("first", "second"), headers=headers, autoping=False, max_msg_size=0
    ) as socket:
        assert socket.protocol == "second"
        assert await socket.receive_json() == {"authorization": "Bearer of the gateway", "path": "/socket?room=1"}
        await socket.send_str("grüezi")
        assert await socket.receive_str() == "grüezi"
        large = bytes(range(256)) * 4096 * 5
        await socket.send_bytes(large)
        assert await socket.receive_bytes() == large
        await socket.ping(b"are you there")
        pong = await socket.receive()
        assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"are you there")


async def test_the_instances_token_is_exchanged_for_the_gateways(client: aiohttp.ClientSession, base: str) -> None:
    headers = {"authorization": f"bearer {TOKEN}"}
    async with client.get(f"{base}/echo", headers=headers) as response:
        assert dict((await response.json())["headers"])["Authorization"] == f"Bearer {INNER}"
    async with client.ws_connect(f"{base}/socket", headers=headers) as socket:
        assert (await socket.receive_json())["authorization"] == f"Bearer {INNER}"


@pytest.mark.parametrize(
    ("text", "arrives"),
    [
        pytest.param(
            {"method": "connect", "params": {"auth": {"token": TOKEN, "other": 1}}},
            {"method": "connect", "params": {"auth": {"token": INNER, "other": 1}}},
            id="its token",
        ),
        *(
            pytest.param(value, value, id=name)
            for name, value in {
                "another token": {"params": {"auth": {"token": "another"}}},
                "a token that is no text": {"params": {"auth": {"token": 7}}},
                "no params": {"method": "connect"},
                "a list": [TOKEN],
                "its token, beside what is too deep to be written anew": {
                    "params": {"auth": {"token": TOKEN}, "deep": json.loads("[" * 300 + "]" * 300)}
                },
            }.items()
        ),
    ],
)
async def test_a_client_may_show_the_instances_token_in_its_first_message(
    client: aiohttp.ClientSession, base: str, text: Any, arrives: Any
) -> None:
    async with client.ws_connect(f"{base}/socket") as socket:
        await socket.receive()
        await socket.send_json(text)
        assert await socket.receive_json() == arrives
        # Only who comes in shows a token: what is said later is nobody's business.
        await socket.send_json({"params": {"auth": {"token": TOKEN}}})
        assert await socket.receive_json() == {"params": {"auth": {"token": TOKEN}}}


@pytest.mark.parametrize("shown", ["in a header", "in the first message"])
async def test_what_a_token_has_opened_is_cut_once_another_one_counts(
    client: aiohttp.ClientSession, base: str, server: Serving, upstream: Upstream, shown: str
) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"} if shown == "in a header" else {}
    first = {} if headers else {"params": {"auth": {"token": TOKEN}}}
    async with client.ws_connect(f"{base}/socket", headers=headers) as socket:
        await socket.receive()
        await socket.send_json(first)
        await socket.receive()
        server.provisioner.token.take_up("another")
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
        async with asyncio.timeout(30):
            await upstream.gone.wait()
    async with client.get(f"{base}/echo", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert dict((await response.json())["headers"])["Authorization"] == f"Bearer {TOKEN}"


async def test_a_websocket_closed_by_the_gateway_is_closed_with_its_reason(
    client: aiohttp.ClientSession, base: str
) -> None:
    async with client.ws_connect(f"{base}/socket") as socket:
        await socket.receive()
        await socket.send_str("close")
        closed = await socket.receive()
        assert (closed.type, closed.data, closed.extra) == (aiohttp.WSMsgType.CLOSE, 4001, "as you wish")


async def test_a_websocket_closed_by_the_client_is_closed_upstream_with_its_reason(
    client: aiohttp.ClientSession, base: str, upstream: Upstream
) -> None:
    async with client.ws_connect(f"{base}/socket") as socket:
        await socket.receive()
        await socket.close(code=4002, message=b"enough")
    async with asyncio.timeout(30):
        await upstream.gone.wait()
    assert upstream.closed_with == (4002, "enough")


async def test_a_client_that_vanishes_ends_the_websocket_upstream(base: str, upstream: Upstream) -> None:
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{base}/socket")
        await socket.receive()
        transport = socket.get_extra_info("socket")
        assert transport is not None
        transport.shutdown(2)
        async with asyncio.timeout(30):
            await upstream.gone.wait()


async def test_a_websocket_the_gateway_refuses_is_refused_with_its_status(
    client: aiohttp.ClientSession, base: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(f"{base}/closed-socket")
    assert refused.value.status == 401
