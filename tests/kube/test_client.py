"""What the client concludes from answers that are not what it asked for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from controller.errors import Refused, Transient
from controller.kube.client import KubeCluster
from controller.kube.connection import Connection
from controller.model import AgentClaim, AgentInstance, AgentPool


@asynccontextmanager
async def client(answer: Any) -> AsyncIterator[KubeCluster]:
    """Of an API server that answers this to whatever it is asked."""

    async def nobody() -> None:
        return None

    async def handle(_: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        async with KubeCluster(Connection(f"http://127.0.0.1:{port}", None, nobody)) as cluster:
            yield cluster
    finally:
        await runner.cleanup()


def metadata(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": "7", **more}


def instance(name: str, **more: Any) -> dict[str, Any]:
    spec = {"pool": "p", "templateHash": "h", "backend": {"process": {}}}
    return {"kind": "AgentInstance", "metadata": metadata(name, **more), "spec": spec}


def newer(thing: dict[str, Any]) -> dict[str, Any]:
    """The same, in a state that only a newer version knows."""
    return thing | {"status": {"phase": "Hibernating"}}


async def test_a_list_with_an_instance_that_cannot_be_read_is_no_list_without_it() -> None:
    async with client({"items": [instance("a"), newer(instance("b"))], "metadata": {}}) as cluster:
        with pytest.raises(Refused, match="AgentInstance n/b does not fit the schema"):
            await cluster.list(AgentInstance)


async def test_pools_and_claims_that_cannot_be_read_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    pool = {"metadata": metadata("p"), "spec": {"backend": {"process": {}}}}
    async with client({"items": [pool, {"metadata": metadata("q"), "spec": {}}], "metadata": {}}) as cluster:
        assert [found.metadata.name for found in await cluster.list(AgentPool)] == ["p"]
    claim = {"metadata": metadata("c"), "spec": {"pool": "p"}}
    async with client({"items": [newer(claim), claim], "metadata": {}}) as cluster:
        assert len(await cluster.list(AgentClaim)) == 1
    assert "AgentPool n/q does not fit the schema" in caplog.text
    assert "AgentClaim n/c does not fit the schema" in caplog.text


@pytest.mark.parametrize("answer", [{}, {"items": None}, {"message": "moved"}, {"kind": "Status", "status": "Success"}])
async def test_an_answer_without_a_list_is_no_empty_list(answer: Any) -> None:
    async with client(answer) as cluster:
        with pytest.raises(Transient):
            await cluster.list(AgentInstance)


async def delete(answer: Any) -> AgentInstance | None:
    async with client(answer) as cluster:
        return await cluster.delete(AgentInstance, "n", "a", uid="uid-a")


HELD = {"deletionTimestamp": "2026-03-01T12:00:00Z", "finalizers": ["agentpool.dev/remote"]}


async def test_a_deletion_that_finalizers_hold_is_no_end() -> None:
    held = await delete(instance("a", **HELD))
    assert held is not None
    assert held.metadata.deleting
    assert await delete(instance("a")) is None
    assert await delete({"kind": "Status", "status": "Success", "details": {"name": "a"}}) is None


async def test_an_instance_that_is_held_and_cannot_be_read_is_not_gone() -> None:
    with pytest.raises(Refused, match="does not fit the schema"):
        await delete(newer(instance("a", **HELD)))


@pytest.mark.parametrize("answer", [{}, {"message": "moved"}, {"kind": "Status"}, {"kind": "List", "items": []}])
async def test_an_answer_that_does_not_speak_of_the_deletion_says_nothing(answer: Any) -> None:
    with pytest.raises(Transient):
        await delete(answer)
