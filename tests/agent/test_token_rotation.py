"""The token that an instance is launched with opens nothing once a provision request has brought another."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.agent.conftest import INSTRUCTIONS, TOKEN, Reply, until

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

NEXT = "5a" * 32


async def provision(instance: Instance, token: str, *, brings: str | None = NEXT, key: str = "claim-1") -> Reply:
    headers = {"Idempotency-Key": key} | ({} if brings is None else {"Agentpool-Next-Token": brings})
    body = {"agentName": "Tokyo", "instructions": INSTRUCTIONS}
    return await instance.ask("POST", "/pool/provision", body=body, headers=headers, token=token)


async def opens(instance: Instance, token: str | None) -> dict[str, bool]:
    """What a token opens from outside."""
    return {
        "the gateway": (await instance.ask("GET", "/convos/status", token=token)).status != 401,
        "provisioning": (await provision(instance, token or "", brings=None)).status != 401,
    }


async def environment_of_a_restarted_gateway(instance: Instance) -> dict[str, str]:
    """The first one is a fork of the supervisor, and the kernel shows the environment with which that was started."""
    first = instance.gateway
    first.kill()
    await asyncio.to_thread(until, lambda: not first.is_running(), "the end of the first gateway")
    await instance.ready()
    return instance.gateway.environ()


async def test_what_a_provision_request_brings_takes_the_place_of_the_launch_token(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance()
    await instance.ready()
    reply = await provision(instance, TOKEN)
    assert (reply.status, reply.json["tokenRotated"]) == (200, True)
    assert await opens(instance, TOKEN) == {"the gateway": False, "provisioning": False}
    assert await opens(instance, NEXT) == {"the gateway": True, "provisioning": True}
    assert (await provision(instance, NEXT)).json == reply.json
    # Whether it is well is for everybody to know.
    await instance.ready()
    assert NEXT not in instance.log


async def test_it_outlives_a_kill_in_a_file_of_its_owner_alone(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    first = await provision(instance, TOKEN)
    await asyncio.to_thread(instance.kill)
    assert stat.S_IMODE((instance.state_dir / "provision.json").stat().st_mode) == 0o600
    instance.start()
    await instance.ready()
    assert await opens(instance, TOKEN) == {"the gateway": False, "provisioning": False}
    assert (await provision(instance, NEXT)).json == first.json
    assert instance.conversations() == 1


async def test_killed_between_the_intent_and_the_answer_it_already_counts(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance(LOOPBACK_CREATE_SECONDS="60")
    await instance.ready()
    asking = asyncio.create_task(provision(instance, TOKEN))
    while not (instance.state_dir / "provision.json").exists():  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.01)
    await asyncio.to_thread(instance.kill)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asking
    instance.start(LOOPBACK_CREATE_SECONDS="0")
    await instance.ready()
    assert (await provision(instance, TOKEN)).status == 401
    reply = await provision(instance, NEXT)
    assert (reply.status, reply.json["status"], reply.json["tokenRotated"]) == (200, "created", True)


async def test_without_another_token_the_one_of_the_launch_goes_on(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    reply = await provision(instance, TOKEN, brings=None)
    assert "tokenRotated" not in reply.json
    # What a repeat brings is too late: whoever sent the first request would not know of it.
    assert "tokenRotated" not in (await provision(instance, TOKEN, brings=NEXT)).json
    assert await opens(instance, TOKEN) == {"the gateway": True, "provisioning": True}
    assert (await instance.ask("GET", "/convos/status", token=NEXT)).status == 401


@pytest.mark.parametrize("brings", ["", "short", "x" * 513, "with a blank in the middle of all of it"])
async def test_a_token_that_cannot_be_one_is_refused_and_changes_nothing(idle_instance: Instance, brings: str) -> None:
    reply = await provision(idle_instance, TOKEN, brings=brings)
    assert reply.status == 400
    assert "Agentpool-Next-Token is not usable" in reply.json["error"]
    assert (await idle_instance.ready()).json["clean"] is True


async def test_a_request_that_is_refused_leaves_the_token_as_it_was(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    headers = {"Idempotency-Key": "claim-1", "Agentpool-Next-Token": NEXT}
    refused = await instance.ask("POST", "/pool/provision", body={"instructions": ""}, headers=headers)
    assert refused.status == 400
    assert (await instance.ask("GET", "/convos/status")).status == 200


async def test_inside_the_gateway_there_is_a_token_that_the_instance_was_not_launched_with(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance()
    await instance.ready()
    environment = await environment_of_a_restarted_gateway(instance)
    inner = environment["OPENCLAW_GATEWAY_TOKEN"]
    assert inner != TOKEN
    assert environment["AGENT_TOKEN"] == TOKEN
    assert (await provision(instance, inner)).status == 401
    instance.terminate()
    instance.start()
    await instance.ready()
    environment = await environment_of_a_restarted_gateway(instance)
    assert environment["OPENCLAW_GATEWAY_TOKEN"] not in {TOKEN, inner}
