from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from agent import __version__

if TYPE_CHECKING:
    from tests.agent.conftest import Instance


@pytest.mark.parametrize("token", [None, "token-of-this-instance", "some other token"])
async def test_a_fresh_instance_is_ready_and_clean_whoever_asks(idle_instance: Instance, token: str | None) -> None:
    await idle_instance.ready()
    reply = await idle_instance.ask("GET", "/pool/health", token=token)
    assert reply.status == 200
    assert reply.json == {"ready": True, "version": __version__, "runtime": "loopback", "clean": True}


async def test_an_instance_is_not_ready_while_its_gateway_boots(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_BOOT_SECONDS="2")
    reply = await instance.ask("GET", "/pool/health")
    assert (reply.status, reply.json) == (503, {"ready": False})
    refused = await instance.provision()
    assert refused.status == 503
    assert not (instance.state_dir / "provision.json").exists()
    await instance.ready()
    assert (await instance.provision("claim-2")).status == 200


async def test_a_gateway_that_answers_every_path_with_a_page_is_not_ready(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance(LOOPBACK_NO_PLUGIN="1", LOOPBACK_HTML_FALLBACK="1")
    while (page := await instance.ask("GET", "/convos/status")).status == 502:
        pass
    assert (page.status, page.content_type) == (200, "text/html")
    reply = await instance.ask("GET", "/pool/health")
    assert (reply.status, reply.json) == (503, {"ready": False})
    assert (await instance.provision()).status == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/pool/nothing", 404),
        ("GET", "/pool", 404),
        ("GET", "/pool/health/", 404),
        ("GET", "/%70ool/nothing", 404),
        ("POST", "/pool/health", 405),
        ("GET", "/pool/provision", 405),
        ("GET", "/pool/self-destruct", 405),
        ("GET", "/nothing", 404),
        ("GET", "/convos/nothing", 404),
        ("DELETE", "/convos/status", 405),
    ],
)
async def test_what_is_not_served_is_said_in_json(idle_instance: Instance, method: str, path: str, status: int) -> None:
    await idle_instance.ready()
    reply = await idle_instance.ask(method, path)
    assert (reply.status, reply.content_type) == (status, "application/json")
    assert list(reply.json) == ["error"]
    assert ("Allow" in reply.headers) == (status == 405)
