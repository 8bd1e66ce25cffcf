"""The way in by a domain."""

import asyncio
import json
import sys

import aiohttp
import httpx

from tests.railway import Catalogue, Fault, Image, Program, Settings, Twin
from tests.railway.asking import STUB, Client

ECHO = """
import asyncio, os
from aiohttp import web

async def handle(request):
    if request.headers.get("Upgrade") == "websocket":
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        async for message in socket:
            await (socket.send_str(message.data) if message.type == 1 else socket.send_bytes(message.data))
            if message.data == "bye":
                await socket.close(code=4001)
        return socket
    body = await request.read()
    lines = [request.method, request.path_qs, request.headers.get("Host", ""), request.headers.get("X-Twice", "")]
    return web.json_response({"lines": lines, "body": body.decode()}, status=207, headers={"X-Answer": "yes"})

app = web.Application()
app.router.add_route("*", "/{path:.*}", handle)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None)
"""


async def test_an_unknown_domain_leads_to_no_application(client: Client, twin: Twin) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        for url in (twin.edge_url.format(domain="nobody.up.railway.localhost"), f"http://127.0.0.1:{twin.port}"):
            answer = await http.get(url, headers={"Host": "nobody.up.railway.localhost"})
            assert answer.status_code == 404
            assert answer.json()["message"] == "Application not found"
            assert answer.json()["code"] == 404


async def test_a_domain_leads_nowhere_before_anything_was_deployed(client: Client) -> None:
    url = await client.add_domain(await client.create("agent"))
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url)).json()["message"] == "Application not found"


async def test_a_dead_program_fails_to_respond(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    await client.commit(service_id, source={"image": STUB}, deploy={"restartPolicyType": "NEVER"})
    await client.environ(url)
    twin.control.kill(service_id)
    await client.until(service_id, "CRASHED")
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url)
    assert answer.status_code == 502
    assert answer.json()["message"] == "Application failed to respond"


async def test_a_domain_that_leads_to_another_port_fails_to_respond(client: Client) -> None:
    service_id = await client.create("agent")
    good, bad = await client.add_domain(service_id, 8080), await client.add_domain(service_id, 3000)
    await client.commit(service_id, source={"image": STUB})
    await client.environ(good)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(bad)).status_code == 502


async def test_the_edge_itself_may_fail(client: Client, twin: Twin) -> None:
    _, url = await client.launch()
    await client.environ(url)
    twin.faults.once(Fault.DOMAIN_DOWN)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url)).status_code == 502
        assert (await http.get(url)).status_code == 200


async def test_requests_are_forwarded_whole_by_path_and_by_host() -> None:
    catalogue = Catalogue(images=(Image("*", Program((sys.executable, "-c", ECHO))),))
    async with (
        Twin(catalogue=catalogue, settings=Settings(limited=False)) as twin,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        client = Client(twin, http)
        service_id, url = await client.launch()
        await client.until(service_id, "SUCCESS")
        while (await http.get(url)).status_code == 502:  # noqa: ASYNC110 - another process begins to listen
            await asyncio.sleep(0.05)
        domain = url.rpartition("/")[2]
        for base, headers in ((url, {}), (f"http://127.0.0.1:{twin.port}", {"Host": domain})):
            answer = await http.post(f"{base}/a%20b/c?d=e%2Ff", content="body", headers={**headers, "X-Twice": "1"})
            assert answer.status_code == 207
            assert answer.headers["X-Answer"] == "yes"
            method, path, host, twice = answer.json()["lines"]
            assert (method, path, twice, answer.json()["body"]) == ("POST", "/a%20b/c?d=e%2Ff", "1", "body")
            assert host == headers.get("Host", f"127.0.0.1:{twin.port}")
        await _talk(url)


async def _talk(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/chat", protocols=["chat"]) as socket:
        assert socket.protocol == "chat"
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
        await socket.send_bytes(b"\x00\x01")
        assert await socket.receive_bytes() == b"\x00\x01"
        await socket.send_str("bye")
        assert await socket.receive_str() == "bye"
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == 4001


async def test_the_request_that_wakes_a_sleeper_is_answered(client: Client, twin: Twin) -> None:
    twin.settings.idle = 0.3
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    await client.commit(service_id, source={"image": STUB}, deploy={"sleepApplication": True})
    await client.until(service_id, "SLEEPING")
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answers = await asyncio.gather(*(http.get(url) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert json.loads(answers[0].content)["RAILWAY_SERVICE_ID"] == service_id
    assert [boot.reason for boot in twin.counts.boots] == ["deploy", "wake"]


async def test_looking_at_the_api_wakes_nobody(client: Client, twin: Twin) -> None:
    twin.settings.idle = 0.3
    service_id = await client.create("agent")
    await client.add_domain(service_id)
    await client.commit(service_id, source={"image": STUB}, deploy={"sleepApplication": True})
    await client.until(service_id, "SLEEPING")
    await client.config(service_id)
    assert (await client.until(service_id, "SLEEPING"))["deploymentStopped"] is False
    assert len(twin.counts.boots) == 1
