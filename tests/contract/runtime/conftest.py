"""Instances of every kind that the client has to get along with."""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
import pytest

from agent.loopback.invites import invite_url, issue_slug
from controller.ports import Endpoint, ProvisionOrder
from controller.runtime import HttpRuntime
from tests.doubles.runtime import ScriptedRuntime

QUICK = ("scripted pool", "scripted convos, older", "scripted convos, newer")
PATIENCE = 30.0
"""Seconds within which anything good happens, however busy the machine is."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A fresh instance, and how to play the owner of the conversation that it asks to join."""

    endpoint: Endpoint
    accept: Callable[[], Awaitable[None]]


def order(
    key: str = "claim-1", join_url: str | None = None, instructions: str = "Plan trips to Tokyo."
) -> ProvisionOrder:
    return ProvisionOrder(key=key, agent_name="Ada", instructions=instructions, join_url=join_url)


def open_link() -> str:
    """A link by which the agent is in at once."""
    return invite_url(issue_slug("0123456789abcdef" * 2, b"tag1", "dev"), "dev")


def waiting_link() -> str:
    """A link by which it is in once somebody accepts it."""
    return f"{open_link()}&wait=1"


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} s in vain: {what}")
        await asyncio.sleep(0.02)


@pytest.fixture
async def runtime() -> AsyncIterator[HttpRuntime]:
    client = HttpRuntime()
    yield client
    await client.close()


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedRuntime]:
    async with ScriptedRuntime("pool") as instance:
        yield instance


@pytest.fixture
async def scripted_convos() -> AsyncIterator[ScriptedRuntime]:
    async with ScriptedRuntime("convos") as instance:
        yield instance


@pytest.fixture(params=[*QUICK, "agent pool", "agent convos"])
async def subject(request: pytest.FixtureRequest, runtime: HttpRuntime, tmp_path: Path) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        match request.param:
            case "scripted pool":
                yield await stack.enter_async_context(scripted_subject(ScriptedRuntime("pool")))
            case "scripted convos, older":
                yield await stack.enter_async_context(scripted_subject(ScriptedRuntime("convos", status_shape="older")))
            case "scripted convos, newer":
                yield await stack.enter_async_context(scripted_subject(ScriptedRuntime("convos")))
            case "agent pool":
                yield await stack.enter_async_context(agent_subject("pool", runtime, tmp_path))
            case _:
                yield await stack.enter_async_context(agent_subject("convos", runtime, tmp_path))


@asynccontextmanager
async def scripted_subject(instance: ScriptedRuntime) -> AsyncIterator[Subject]:
    async def accept() -> None:
        instance.accept()

    async with instance:
        yield Subject(instance.endpoint, accept)


@asynccontextmanager
async def agent_subject(
    protocol: Literal["pool", "convos"], runtime: HttpRuntime, state_dir: Path
) -> AsyncIterator[Subject]:
    """The project's own agent, in its own process; its supervisor hands /convos on to the gateway inside."""
    token = secrets.token_urlsafe(24)
    log = (state_dir / "log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PORT": "0",
            "INSTANCE_ID": "instance-1",
            "OPENCLAW_GATEWAY_TOKEN": token,
            "OPENCLAW_STATE_DIR": str(state_dir / "state"),
        },
        stdout=log,
        stderr=log,
    )
    try:
        port_file = state_dir / "state" / "port"

        async def serving() -> bool:
            assert process.returncode is None, (state_dir / "log").read_text()
            return port_file.exists() and port_file.read_text().strip() != ""

        await eventually(serving, "the agent serves")
        endpoint = Endpoint(f"http://127.0.0.1:{int(port_file.read_text())}", protocol, token)

        async def ready() -> bool:
            return (await runtime.probe(endpoint, timeout=PATIENCE)).ready

        await eventually(ready, "the agent is ready")

        async def accept() -> None:
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{endpoint.url}/convos/accept", headers=headers) as response,
            ):
                assert response.status == 200

        yield Subject(endpoint, accept)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()
