"""The convos contract, asked of the real gateway through the supervisor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from agent.loopback.state import State, StateFiles

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

CREATE = "/convos/conversation"


async def bound(instance: Instance) -> dict[str, Any]:
    await instance.ready()
    created: dict[str, Any] = (await instance.ask("POST", CREATE, body={"name": "Tokyo", "env": "dev"})).json
    return created


async def test_an_unbound_gateway_answers_both_shapes_of_status(idle_instance: Instance) -> None:
    await idle_instance.ready()
    assert await idle_instance.convos_status() == {
        "ready": True,
        "conversation": None,
        "streaming": False,
        "conversationId": None,
        "inboxId": None,
        "pending": False,
        "clean": True,
    }


async def test_a_created_conversation_is_named_with_its_invite(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    created = await bound(instance)
    assert created["inviteUrl"] == f"https://dev.convos.org/v2?i={created['inviteSlug']}"
    status = await instance.convos_status()
    assert status["conversation"] == {"id": created["conversationId"], "inviteUrl": created["inviteUrl"]}
    assert (status["streaming"], status["clean"], status["pending"]) == (True, False, False)


async def test_a_bound_gateway_takes_no_second_conversation(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    created = await bound(instance)
    assert (await instance.ask("POST", CREATE, body={})).status == 409
    assert (await instance.ask("POST", "/convos/join", body={"inviteUrl": created["inviteUrl"]})).status == 409


async def test_a_gateway_that_waits_takes_nothing_else_until_accepted(new_instance: Callable[..., Instance]) -> None:
    owner, guest = new_instance(), new_instance()
    created = await bound(owner)
    await guest.ready()
    assert (await guest.ask("POST", "/convos/accept")).status == 409
    asked = await guest.ask("POST", "/convos/join", body={"inviteUrl": created["inviteUrl"] + "&wait=1"})
    assert asked.json == {"status": "waiting_for_acceptance"}
    status = await guest.convos_status()
    assert (status["pending"], status["conversationId"], status["clean"]) == (True, None, False)
    assert (await guest.ask("POST", CREATE, body={})).status == 409
    assert (await guest.ask("POST", "/convos/accept")).json["conversationId"] == created["conversationId"]
    assert (await guest.convos_status())["conversationId"] == created["conversationId"]


async def test_everything_survives_a_restart(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await bound(instance)
    await instance.ask("POST", "/convos/conversation/send", body={"message": "Hello"})
    await instance.ask("POST", "/convos/rename", body={"name": "Kyoto"})
    before = (await instance.convos_status(), (await instance.ask("GET", "/convos/messages")).body)
    instance.kill()
    instance.start()
    await instance.ready()
    assert (await instance.convos_status(), (await instance.ask("GET", "/convos/messages")).body) == before
    assert [message["message"] for message in json.loads(before[1])["messages"]] == ["Hello"]


async def test_locking_rotates_the_invite_and_unlocking_keeps_it(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    created = await bound(instance)
    assert (await instance.ask("POST", "/convos/lock")).json == {"ok": True, "locked": True}
    locked = (await instance.convos_status())["conversation"]["inviteUrl"]
    assert locked != created["inviteUrl"]
    assert (await instance.ask("POST", "/convos/lock", body={"unlock": True})).json == {"ok": True, "locked": False}
    assert (await instance.convos_status())["conversation"]["inviteUrl"] == locked


async def test_an_exploded_conversation_is_gone_and_its_gateway_never_clean_again(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance()
    await instance.ready()
    await instance.provision()
    await instance.ask("POST", "/convos/conversation/send", body={"message": "Hello"})
    assert (await instance.ask("POST", "/convos/explode")).status == 200
    left = sorted(str(path.relative_to(instance.state_dir)) for path in instance.state_dir.rglob("*") if path.is_file())
    assert left == ["loopback/state.json", "port", "provision.json"]
    instance.kill()
    instance.start()
    await instance.ready()
    status = await instance.convos_status()
    assert (status["conversation"], status["inboxId"], status["clean"]) == (None, None, False)
    assert (await instance.ask("POST", CREATE, body={})).status == 409
    assert (await instance.ask("POST", "/convos/explode")).status == 409


async def test_messages_stream_over_a_websocket_until_the_explosion(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await bound(instance)
    headers = {"Authorization": f"Bearer {instance.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(instance.url("/convos/stream")) as socket,
    ):
        await instance.ask("POST", "/convos/conversation/send", body={"message": "Hello"})
        assert (await socket.receive_json())["message"] == "Hello"
        await socket.send_str("Hi yourself")
        heard = await socket.receive_json()
        assert (heard["message"], heard["from"]) == ("Hi yourself", "participant")
        await instance.ask("POST", "/convos/explode")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/convos/join", {}, 400, id="a join without a link"),
        pytest.param(
            "/convos/join", {"inviteUrl": "https://popup.convos.org/v2?i=a"}, 400, id="another network's link"
        ),
        pytest.param(CREATE, {"env": "production"}, 400, id="another network"),
        pytest.param(CREATE, {"name": 7}, 400, id="a name of a wrong type"),
        pytest.param(
            CREATE, b'{"metadata":{"a":%b}}' % (b"[" * 500 + b"]" * 500), 400, id="metadata that nobody can write down"
        ),
        pytest.param(CREATE, [], 400, id="no object"),
        pytest.param(CREATE, b"{", 400, id="no JSON"),
        pytest.param("/convos/conversation/send", {"message": "x"}, 409, id="a message to nobody"),
        pytest.param("/convos/conversation/send", {}, 400, id="no message"),
        pytest.param("/convos/rename", {"name": "x"}, 409, id="a name for nothing"),
        pytest.param("/convos/rename", {"name": ""}, 400, id="no name"),
        pytest.param("/convos/lock", {"unlock": "no"}, 400, id="a lock of a wrong type"),
        pytest.param("/convos/lock", {}, 409, id="nothing to lock"),
        pytest.param("/convos/explode", {}, 409, id="nothing to explode"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_leaves_the_gateway_clean(
    idle_instance: Instance, path: str, body: Any, status: int
) -> None:
    await idle_instance.ready()
    reply = await idle_instance.ask("POST", path, body=body)
    assert reply.status == status
    assert list(reply.json) == ["error"]
    assert (await idle_instance.convos_status())["clean"] is True


@pytest.mark.parametrize("path", ["/convos/status", "/convos/messages", "/convos/stream"])
async def test_the_gateway_wants_the_token(idle_instance: Instance, path: str) -> None:
    await idle_instance.ready()
    assert (await idle_instance.ask("GET", path, token=None)).status == 401
    assert (await idle_instance.ask("GET", path, token="another")).status == 401


async def test_two_creates_at_once_make_one_conversation(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_CREATE_SECONDS="0.2")
    await instance.ready()
    replies = await asyncio.gather(*(instance.ask("POST", CREATE, body={}) for _ in range(2)))
    assert sorted(reply.status for reply in replies) == [200, 409]


def test_a_key_left_without_a_state_is_not_clean(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    assert files.load() == State()
    files.save_key(b"key")
    assert not files.load().clean


def test_a_message_torn_by_a_kill_is_left_out_and_cut_off(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    files.append({"message": "whole"})
    with (tmp_path / "loopback" / "messages.jsonl").open("ab") as file:
        file.write(b'{"message":"to')
    assert files.messages() == [{"message": "whole"}]
    files.mend_messages()
    files.append({"message": "next"})
    assert files.messages() == [{"message": "whole"}, {"message": "next"}]
