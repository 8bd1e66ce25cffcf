"""Who is connected to, how often, and who waits for whom."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from controller.errors import Transient
from controller.ports import Endpoint, Readiness
from controller.runtime import HttpRuntime
from controller.runtime.client import MAX_PROBES
from controller.runtime.resolver import KEEP_SECONDS, RememberingResolver
from controller.runtime.transport import IDLE_SECONDS, Request, Transport
from tests.contract.runtime.conftest import PATIENCE, eventually, order
from tests.doubles.runtime import ScriptedRuntime, acts_and_hangs, answers, hangs, redirects


@pytest.fixture
async def elsewhere() -> AsyncIterator[ScriptedRuntime]:
    async with ScriptedRuntime("pool") as instance:
        yield instance


def connected(instance: ScriptedRuntime) -> int:
    return sum(not connection.is_closing() for connection in instance.connections)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    runtime: HttpRuntime, scripted: ScriptedRuntime, elsewhere: ScriptedRuntime, status: int
) -> None:
    scripted.script = redirects(f"{elsewhere.url}/pool/health", status)

    assert not (await runtime.probe(scripted.endpoint, timeout=PATIENCE)).ready
    with pytest.raises(Transient):
        await runtime.provision(scripted.endpoint, order(), timeout=PATIENCE)
    with pytest.raises(Transient):
        await runtime.conversation(scripted.endpoint, timeout=PATIENCE)

    assert len(scripted.seen) == 3
    assert elsewhere.seen == []


async def test_no_proxy_of_the_environment_learns_a_token(
    runtime: HttpRuntime, scripted: ScriptedRuntime, elsewhere: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    assert (await runtime.probe(scripted.endpoint, timeout=PATIENCE)).ready
    assert elsewhere.seen == []


async def test_cookies_are_not_kept(runtime: HttpRuntime, scripted: ScriptedRuntime) -> None:
    scripted.script = answers({"ready": True}, headers={"Set-Cookie": "a=b"})
    for _ in range(2):
        assert (await runtime.probe(scripted.endpoint, timeout=PATIENCE)).ready
    assert all("Cookie" not in seen.headers for seen in scripted.seen)


async def test_a_probe_of_the_pool_protocol_shows_the_token_that_older_runtimes_want(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    await runtime.probe(scripted.endpoint, timeout=PATIENCE)
    assert scripted.seen[0].headers["Authorization"] == f"Bearer {scripted.token}"


async def test_an_order_is_json_and_has_a_join_link_only_when_there_is_one(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    await runtime.provision(scripted.endpoint, order(), timeout=PATIENCE)
    assert scripted.seen[0].headers["Content-Type"] == "application/json"
    assert scripted.seen[0].body == {"agentName": "Ada", "instructions": "Plan trips to Tokyo."}


async def test_silent_instances_never_make_a_provision_wait(
    runtime: HttpRuntime, scripted: ScriptedRuntime, elsewhere: ScriptedRuntime
) -> None:
    scripted.script = hangs
    probes = [
        asyncio.create_task(runtime.probe(scripted.endpoint, timeout=2 * PATIENCE)) for _ in range(MAX_PROBES + 50)
    ]
    await eventually(lambda: _is(scripted.running == MAX_PROBES), "the probes hang")

    assert (await runtime.provision(elsewhere.endpoint, order(), timeout=PATIENCE)).conversation_id

    assert not any(probe.done() for probe in probes)
    scripted.stopping.set()
    scripted.script = None
    await asyncio.gather(*probes)
    assert scripted.busiest == MAX_PROBES


async def test_a_burst_of_three_hundred_claims_goes_out_at_once(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    scripted.script = hangs
    claims = [
        asyncio.create_task(runtime.provision(scripted.endpoint, order(f"claim-{n}"), timeout=2 * PATIENCE))
        for n in range(300)
    ]
    await eventually(lambda: _is(scripted.running == len(claims)), "every order arrives")
    scripted.stopping.set()
    assert all(isinstance(end, Transient) for end in await asyncio.gather(*claims, return_exceptions=True))


async def test_a_probe_that_waits_for_others_is_not_called_silent(scripted: ScriptedRuntime) -> None:
    transport = Transport(RememberingResolver(lambda: 0.0), concurrent=1, idle=0, clock=lambda: 0.0)
    request = Request("GET", f"{scripted.url}/pool/health", scripted.token)
    scripted.script = hangs
    first = asyncio.create_task(transport.ask(request, timeout=PATIENCE))
    await eventually(lambda: _is(scripted.running == 1), "the first request hangs")
    scripted.script = None
    patience = 1.0
    second = asyncio.create_task(transport.ask(request, timeout=patience))
    await asyncio.sleep(patience * 1.1)
    scripted.stopping.set()

    assert (await first).status == 503
    assert (await second).status == 200
    await transport.close()


async def test_one_instance_probed_again_and_again_sees_one_connection(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    for _ in range(5):
        await runtime.probe(scripted.endpoint, timeout=PATIENCE)
    assert len(scripted.connections) == 1
    assert connected(scripted) == 1


async def test_an_order_has_a_connection_of_its_own_that_is_closed_behind_it(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    await runtime.probe(scripted.endpoint, timeout=PATIENCE)
    await runtime.provision(scripted.endpoint, order(), timeout=PATIENCE)
    assert len(scripted.connections) == 2
    await eventually(lambda: _is(connected(scripted) == 1), "the order's connection is closed")


async def test_an_instance_cannot_keep_the_connection_of_an_order(runtime: HttpRuntime) -> None:
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        body = b'{"ok":true,"joined":false,"conversationId":"c-1"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        await reader.read()
        hung_up.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        endpoint = Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "pool", "t0ken")
        assert (await runtime.provision(endpoint, order(), timeout=PATIENCE)).conversation_id == "c-1"
        await asyncio.wait_for(hung_up.wait(), PATIENCE)


async def test_no_more_than_so_many_hosts_keep_an_idle_connection() -> None:
    now = 0.0
    transport = Transport(RememberingResolver(lambda: now), concurrent=10, idle=2, clock=lambda: now)
    async with AsyncExitStack() as stack:
        instances = [await stack.enter_async_context(ScriptedRuntime("pool")) for _ in range(4)]

        async def idle(*expected: int) -> None:
            await eventually(lambda: _is([connected(i) for i in instances] == list(expected)), f"idle: {expected}")

        for instance in instances:
            await transport.ask(Request("GET", f"{instance.url}/pool/health", instance.token), timeout=PATIENCE)
        await idle(1, 1, 0, 0)

        now += IDLE_SECONDS + 1
        last = instances[3]
        await transport.ask(Request("GET", f"{last.url}/pool/health", last.token), timeout=PATIENCE)
        assert connected(last) == 1

        await transport.close()
        await idle(0, 0, 0, 0)

        for instance in instances[:2]:
            await transport.ask(Request("GET", f"{instance.url}/pool/health", instance.token), timeout=PATIENCE)
        await idle(1, 1, 0, 0)
        await transport.close()


async def test_a_connection_that_the_instance_closed_meanwhile_is_not_a_failed_probe(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    await runtime.probe(scripted.endpoint, timeout=PATIENCE)
    for connection in scripted.connections:
        connection.close()
    assert await runtime.probe(scripted.endpoint, timeout=PATIENCE) == Readiness(True, "")


async def test_a_closed_client_opens_again_when_it_is_needed(runtime: HttpRuntime, scripted: ScriptedRuntime) -> None:
    await runtime.probe(scripted.endpoint, timeout=PATIENCE)
    await runtime.close()
    await eventually(lambda: _is(connected(scripted) == 0), "the idle connection is closed")
    assert (await runtime.probe(scripted.endpoint, timeout=PATIENCE)).ready


async def test_closing_ends_what_is_under_way_with_an_error_of_ours(
    runtime: HttpRuntime, scripted: ScriptedRuntime
) -> None:
    scripted.script = acts_and_hangs
    task = asyncio.create_task(runtime.provision(scripted.endpoint, order(), timeout=PATIENCE))
    await eventually(lambda: _is(scripted.running == 1), "the order arrives")
    await runtime.close()
    with pytest.raises(Transient):
        await task


async def test_a_shortage_on_this_side_blames_no_instance(runtime: HttpRuntime, scripted: ScriptedRuntime) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The lowest free descriptor is the one that the next socket would get.
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        with pytest.raises(Transient, match="the controller has no file descriptors"):
            await runtime.probe(scripted.endpoint, timeout=PATIENCE)
        with pytest.raises(Transient, match="the controller has no file descriptors"):
            await runtime.provision(scripted.endpoint, order(), timeout=PATIENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (await runtime.probe(scripted.endpoint, timeout=PATIENCE)).ready


class CountingResolver(AbstractResolver):
    """Knows one name, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        if host != "known":
            raise OSError("no such name")
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Holds nothing."""


async def test_a_name_is_looked_up_once_a_minute() -> None:
    now, system = 0.0, CountingResolver()
    resolver = RememberingResolver(lambda: now, lambda: system)
    found = [await resolver.resolve("known", 80) for _ in range(3)]
    assert [address[0]["host"] for address in found] == ["127.0.0.1"] * 3
    assert system.asked == 1

    now += KEEP_SECONDS
    await resolver.resolve("known", 80)
    assert system.asked == 2


async def test_a_name_that_is_not_known_yet_is_looked_up_every_time() -> None:
    system = CountingResolver()
    resolver = RememberingResolver(lambda: 0.0, lambda: system)
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            await resolver.resolve("new", 80)
    assert system.asked == 2


async def _is(condition: bool) -> bool:
    return condition
