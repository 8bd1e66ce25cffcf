"""Events of deployments, as subscribers get them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.railway import Fault, Twin
from tests.railway.asking import STUB, Client, eventually

Event = dict[str, Any]


@pytest.fixture
async def events(twin: Twin) -> AsyncIterator[list[Event]]:
    """All that were posted."""
    seen: list[Event] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/secret", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    twin.settings.webhooks = [f"http://127.0.0.1:{runner.addresses[0][1]}/secret"]
    yield seen
    await runner.cleanup()


async def test_a_deployment_tells_that_it_is_up_and_that_it_crashed(
    client: Client, twin: Twin, events: list[Event]
) -> None:
    service_id = await client.create("agent")
    await client.commit(service_id, source={"image": STUB}, deploy={"restartPolicyType": "NEVER"})
    deployment = await client.until(service_id, "SUCCESS")
    await eventually(lambda: events)
    [event] = events
    assert event["type"] == "Deployment.deployed"
    assert event["details"] == {"id": deployment["id"], "status": "SUCCESS"}
    assert {name: each["id"] for name, each in event["resource"].items()} == {
        "workspace": twin.project.workspace_id,
        "project": twin.project_id,
        "environment": client.environment_id,
        "service": service_id,
        "deployment": deployment["id"],
    }
    assert event["severity"]
    assert event["timestamp"]
    twin.control.kill(service_id, out_of_memory=True)
    await eventually(lambda: len(events) == 2)
    assert events[1]["type"] == "Deployment.oom_killed"


async def test_a_deployment_tells_that_it_failed(client: Client, events: list[Event]) -> None:
    service_id = await client.create("agent")
    await client.commit(service_id, source={"image": "ghcr.io/agents/missing:1"})
    await eventually(lambda: events)
    assert events[0]["type"] == "Deployment.failed"


async def test_a_sleeper_tells_that_it_sleeps_and_wakes(client: Client, twin: Twin, events: list[Event]) -> None:
    twin.settings.idle = 0.2
    service_id = await client.create("agent")
    url = await client.add_domain(service_id)
    await client.commit(service_id, source={"image": STUB}, deploy={"sleepApplication": True})
    await client.until(service_id, "SLEEPING")
    twin.settings.idle = 600.0
    await client.environ(url)
    await eventually(lambda: len(events) == 3)
    kinds = {event["type"] for event in events}
    assert kinds == {"Deployment.deployed", "Deployment.slept", "Deployment.resumed"}


async def test_an_event_may_be_lost(client: Client, twin: Twin, events: list[Event]) -> None:
    twin.faults.set(Fault.LOST_EVENT, 1.0)
    service_id, _ = await client.launch()
    await client.until(service_id, "SUCCESS")
    assert twin.faults.counts[Fault.LOST_EVENT] == 1
    assert events == []
