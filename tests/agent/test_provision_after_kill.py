"""kill -9 at every stage of a provision request: the repeat finds out how far the first attempt came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

LINK = "https://dev.convos.org/v2?i=somebody-elses-slug"


def read(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.exists() else {}


async def killed_while_provisioning(instance: Instance, condition: Callable[[], bool], **fields: Any) -> None:
    """Ask for a provision and kill the supervisor once the condition holds on disk."""
    await instance.ready()
    asking = asyncio.create_task(instance.provision(**fields))
    while not condition():
        assert not asking.done(), "it was answered before it could be killed"
        await asyncio.sleep(0.01)
    await asyncio.to_thread(instance.kill)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asking


async def test_killed_after_the_intent_it_creates_on_the_repeat(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_CREATE_SECONDS="60")
    intent = instance.state_dir / "provision.json"
    await killed_while_provisioning(instance, intent.exists)
    assert read(intent) == {"key": "claim-1", "answer": None, "token": None}
    instance.start(LOOPBACK_CREATE_SECONDS="0")
    assert (await instance.ready()).json["clean"] is False
    assert (await instance.convos_status())["clean"] is True
    assert (await instance.provision("claim-2")).status == 409
    reply = await instance.provision("claim-1")
    assert (reply.status, reply.json["status"]) == (200, "created")
    assert instance.conversations() == 1


async def test_killed_before_the_answer_it_finds_what_was_created(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_ANSWER_SECONDS="60")
    bound = instance.state_dir / "loopback" / "state.json"
    await killed_while_provisioning(instance, lambda: bool(read(bound).get("conversation")))
    conversation = read(bound)["conversation"]["id"]
    instance.start(LOOPBACK_ANSWER_SECONDS="0")
    await instance.ready()
    replies = await asyncio.gather(*(instance.provision() for _ in range(3)))
    assert {reply.status for reply in replies} == {200}
    assert {reply.json["conversationId"] for reply in replies} == {conversation}
    assert replies[0].json["inviteUrl"].startswith("https://dev.convos.org/v2?i=")
    assert replies[0].json["status"] == "created"
    assert instance.conversations() == 0


async def test_killed_while_a_join_waits_it_still_waits(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_ANSWER_SECONDS="60")
    bound = instance.state_dir / "loopback" / "state.json"
    await killed_while_provisioning(instance, lambda: bool(read(bound).get("waiting")), joinUrl=LINK)
    instance.start(LOOPBACK_ANSWER_SECONDS="0")
    await instance.ready()
    assert (await instance.provision(joinUrl=LINK)).json["status"] == "pending_acceptance"
    await instance.ask("POST", "/convos/accept")
    assert (await instance.provision(joinUrl=LINK)).json["status"] == "joined"


async def test_killed_after_the_answer_it_answers_the_same(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    first = await instance.provision()
    instance.kill()
    instance.start()
    await instance.ready()
    assert (await instance.provision()).json == first.json
    assert (await instance.provision("claim-2")).status == 409
    assert instance.conversations() == 1


async def test_a_record_that_cannot_be_read_stops_the_instance(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    instance.terminate()
    (instance.state_dir / "provision.json").write_text("{")
    instance.start()
    assert instance.wait() == 1
    assert "destroy it" in instance.log
    assert "Traceback" not in instance.log
