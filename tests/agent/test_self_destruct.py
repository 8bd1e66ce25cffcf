from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agent.self_destruct import is_loopback

if TYPE_CHECKING:
    from tests.agent.conftest import Instance


class Pool:
    """A pool that takes self-destructions; it can be slow or refuse."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.status = 200
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        return web.json_response({"ok": self.status == 200}, status=self.status)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    app = web.Application()
    app.router.add_post("/base/api/pool/self-destruct", pool.take)
    async with TestServer(app) as server:
        pool.url = str(server.make_url("/base"))
        yield pool


@pytest.mark.parametrize("status", [200, 403])
async def test_it_tells_the_pool_answers_and_ends(
    new_instance: Callable[..., Instance], pool: Pool, status: int
) -> None:
    pool.status = status
    instance = new_instance(POOL_URL=f"{pool.url}/")
    await instance.ready()
    reply = await instance.ask("POST", "/pool/self-destruct", token=None)
    assert (reply.status, reply.json) == (200, {"ok": True})
    assert pool.told == [{"instanceId": "instance-1", "gatewayToken": instance.token}]
    assert await asyncio.to_thread(instance.wait) == 0
    assert ("did not take" in instance.log) == (status == 403)
    assert instance.token not in instance.log


@pytest.mark.parametrize(
    "environment", [{}, {"POOL_URL": "http://127.0.0.1:9"}], ids=["no pool", "a pool that is away"]
)
async def test_it_ends_without_a_pool(new_instance: Callable[..., Instance], environment: dict[str, str]) -> None:
    instance = new_instance(**environment)
    assert (await instance.ask("POST", "/pool/self-destruct")).json == {"ok": True}
    assert await asyncio.to_thread(instance.wait) == 0


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Forwarded", "Via", "Origin", "Sec-Fetch-Site"]
)
async def test_who_comes_through_a_proxy_or_a_browser_is_refused(idle_instance: Instance, header: str) -> None:
    reply = await idle_instance.ask("POST", "/pool/self-destruct", headers={header: "127.0.0.1"})
    assert reply.status == 403
    assert header in reply.json["error"]
    assert (await idle_instance.ready()).status == 200


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
        (None, False),
    ],
)
def test_only_loopback_addresses_are_local(peer: str | None, local: bool) -> None:
    assert is_loopback(peer) is local
