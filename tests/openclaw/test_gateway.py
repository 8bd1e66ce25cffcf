"""npm's OpenClaw as the gateway of an instance, with a convos plugin that has no network behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import psutil
import pytest

from agent.instructions import without_block

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

# A boot takes ten seconds, on a busy machine thirty; a test has up to two.
pytestmark = [pytest.mark.openclaw, pytest.mark.timeout(420)]

INSTRUCTIONS = "Plan trips to Tokyo."
PLATFORMS_GRACE_SECONDS = 10.0
"""What Docker and Kubernetes' users grant between SIGTERM and SIGKILL."""


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


async def gone(processes: list[psutil.Process]) -> None:
    async with asyncio.timeout(30):
        while alive(processes):  # noqa: ASYNC110 - what is awaited happens in other processes
            await asyncio.sleep(0.05)


def gateway_of(instance: Instance) -> psutil.Process:
    """OpenClaw itself, the lifeline's only child."""
    [lifeline] = psutil.Process(instance.pid).children()
    [gateway] = lifeline.children()
    return gateway


async def test_an_instance_with_openclaw_becomes_ready(idle: Instance) -> None:
    health = (await idle.ready()).json
    assert (health["ready"], health["runtime"], health["clean"]) == (True, "openclaw", True)
    gateway = gateway_of(idle)
    # Its title comes a little later, and is no name of a program.
    assert any("openclaw" in word for word in gateway.cmdline())
    assert os.getpgid(gateway.pid) not in {os.getpgid(idle.pid), os.getpgid(0)}
    assert idle.token not in (idle.state_dir / "openclaw.json").read_text()
    assert idle.token not in idle.log


async def test_an_unknown_path_is_not_found(idle: Instance) -> None:
    await idle.ready()
    reply = await idle.ask("GET", "/nothing/here")
    assert (reply.status, reply.content_type) == (404, "text/plain")


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "203.0.113.7"}], ids=["from inside", "from outside"])
async def test_openclaws_own_routes_take_the_token_through_the_proxy(idle: Instance, headers: dict[str, str]) -> None:
    await idle.ready()
    call = {"tool": "no-such-tool"}
    known = await idle.ask("POST", "/tools/invoke", body=call, headers=headers | {"Content-Type": "application/json"})
    assert (known.status, known.json["error"]["type"]) == (404, "not_found")
    stranger = await idle.ask("POST", "/tools/invoke", body=call, headers=headers, token="another token")
    assert stranger.status == 401


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-For": "203.0.113.7"}], ids=["from inside", "from outside"])
async def test_a_websocket_passes_the_proxy(idle: Instance, headers: dict[str, str]) -> None:
    await idle.ready()
    hello: dict[str, Any] = {
        "minProtocol": 4,
        "maxProtocol": 4,
        "client": {"id": "gateway-client", "version": "0", "platform": "linux", "mode": "backend"},
        "role": "operator",
        "scopes": ["operator.read"],
        "auth": {"token": idle.token},
    }
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession() as session,
        session.ws_connect(idle.url("/"), headers=headers) as socket,
    ):
        assert (await socket.receive_json())["event"] == "connect.challenge"
        await socket.send_json({"type": "req", "id": "1", "method": "connect", "params": hello})
        answer = await socket.receive_json()
        assert (answer["id"], answer["ok"], answer["payload"]["type"]) == ("1", True, "hello-ok")
        assert answer["payload"]["server"]["version"] == pinned_version()


async def test_a_body_passes_the_proxy_while_it_is_still_being_sent(idle: Instance) -> None:
    await idle.ready()
    echoed = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await echoed.wait()
        yield b"last"

    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession() as session,
        session.post(idle.url("/convos/echo"), data=body()) as response,
    ):
        assert await response.content.readexactly(5) == b"first"
        echoed.set()
        assert await response.content.read() == b"last"


async def test_a_life_from_provisioning_over_a_crash_to_the_end(instance: Instance) -> None:
    await instance.ready()
    workspace = instance.state_dir / "workspace"
    before = (workspace / "AGENTS.md").read_bytes()

    first = await instance.provision(instructions=INSTRUCTIONS)
    assert (first.status, first.json["status"]) == (200, "created")
    assert (workspace / "INSTRUCTIONS.md").read_text() == INSTRUCTIONS
    after = (workspace / "AGENTS.md").read_bytes()
    assert INSTRUCTIONS.encode() in after
    assert without_block(after) == before
    assert (await instance.ask("POST", "/convos/join", body={"inviteUrl": "x"})).status == 409

    processes = psutil.Process(instance.pid).children(recursive=True)
    crashed = gateway_of(instance)
    crashed.kill()
    await gone(processes)
    assert (await instance.ask("GET", "/pool/health")).status == 503
    assert (await instance.ready()).json["clean"] is False
    assert gateway_of(instance).pid != crashed.pid
    assert (await instance.convos_status())["conversation"]["id"] == first.json["conversationId"]
    assert (await instance.provision()).json == first.json
    assert (await instance.provision("claim-2")).status == 409

    processes = psutil.Process(instance.pid).children(recursive=True)
    os.kill(instance.pid, signal.SIGTERM)
    assert instance.process is not None
    assert await asyncio.to_thread(instance.process.wait, PLATFORMS_GRACE_SECONDS) == 0
    assert alive(processes) == []


async def test_a_killed_supervisor_leaves_nothing_and_starts_again_on_the_same_state(instance: Instance) -> None:
    await instance.ready()
    first = await instance.provision(instructions=INSTRUCTIONS)
    processes = psutil.Process(instance.pid).children(recursive=True)
    os.kill(instance.pid, signal.SIGKILL)
    await asyncio.to_thread(instance.wait)
    await gone(processes)
    # As the agent itself might do it: a comment, and keys that would lock the supervisor out.
    config = instance.state_dir / "openclaw.json"
    config.write_text("// mine\n" + config.read_text().replace('"loopback"', '"lan"'))
    instance.start()
    await instance.ready()
    assert config.read_text().startswith("// mine")
    assert {link.laddr.ip for link in gateway_of(instance).net_connections() if link.status == "LISTEN"} <= {
        "127.0.0.1",
        "::1",
    }
    assert (await instance.provision()).json == first.json


def pinned_version() -> str:
    version: str = json.loads(Path(__file__).with_name("package.json").read_bytes())["dependencies"]["openclaw"]
    return version
