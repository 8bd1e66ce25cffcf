from __future__ import annotations

import asyncio
import io
import stat
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

STRANGERS_LINK = "https://dev.convos.org/v2?i=somebody-elses-slug"


async def test_provisioning_creates_the_conversation(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    reply = await instance.provision()
    assert reply.status == 200
    assert reply.json == {
        "ok": True,
        "inviteUrl": reply.json["inviteUrl"],
        "conversationId": reply.json["conversationId"],
        "joined": False,
        "status": "created",
    }
    assert reply.json["inviteUrl"].startswith("https://dev.convos.org/v2?i=")
    status = await instance.convos_status()
    assert status["conversationId"] == reply.json["conversationId"]
    instructions = instance.state_dir / "workspace" / "INSTRUCTIONS.md"
    assert instructions.read_text() == "Plan trips to Tokyo. The password is swordfish."
    assert stat.S_IMODE(instructions.stat().st_mode) == 0o600
    assert (await instance.ready()).json["clean"] is False


async def test_an_instance_of_the_production_network_issues_production_links(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance(XMTP_ENV="production")
    await instance.ready()
    refused = await instance.provision(joinUrl="https://dev.convos.org/v2?i=abc")
    assert refused.status == 400
    assert "production" in refused.json["error"]
    assert (await instance.provision()).json["inviteUrl"].startswith("https://popup.convos.org/v2?i=")


async def test_no_secret_reaches_the_log(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    slug = (await instance.provision()).json["inviteUrl"].partition("i=")[2]
    assert "provisioned" in instance.log
    assert slug not in instance.log
    assert "swordfish" not in instance.log
    assert instance.token not in instance.log


async def test_the_same_key_is_answered_with_the_same_answer(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    first = await instance.provision(metadata={"a": 1}, profileImage="https://images.example/a.png")
    again = await instance.provision(instructions="Something else entirely.")
    assert (again.status, again.json) == (200, first.json)
    assert instance.conversations() == 1


async def test_another_key_and_no_key_are_refused_on_a_provisioned_instance(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance()
    await instance.ready()
    await instance.provision("claim-1")
    for key in ("claim-2", None):
        refused = await instance.provision(key)
        assert refused.status == 409
        assert "another claim" in refused.json["error"]
    assert instance.conversations() == 1


async def test_without_a_key_an_instance_is_provisioned_once(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    assert (await instance.provision(None)).status == 200
    assert (await instance.provision(None)).status == 409
    assert (await instance.provision("claim-1")).status == 409


async def test_ten_requests_at_once_with_one_key_make_one_conversation(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_CREATE_SECONDS="0.3", LOOPBACK_ANSWER_SECONDS="0.3")
    await instance.ready()
    replies = await asyncio.gather(*(instance.provision() for _ in range(10)))
    assert [reply.status for reply in replies] == [200] * 10
    assert len({reply.body for reply in replies}) == 1
    assert instance.conversations() == 1


async def test_of_ten_requests_at_once_with_ten_keys_one_wins(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_CREATE_SECONDS="0.3")
    await instance.ready()
    replies = await asyncio.gather(*(instance.provision(f"claim-{number}") for number in range(10)))
    assert sorted(reply.status for reply in replies) == [200] + [409] * 9
    assert instance.conversations() == 1


async def test_a_caller_who_hangs_up_is_answered_on_the_repeat(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_ANSWER_SECONDS="1")
    await instance.ready()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(instance.provision(), 0.4)
    reply = await instance.provision()
    assert (reply.status, reply.json["status"]) == (200, "created")
    assert instance.conversations() == 1


async def test_joining_an_issued_invite_leads_to_the_same_conversation(new_instance: Callable[..., Instance]) -> None:
    owner, guest = new_instance(), new_instance()
    await owner.ready()
    await guest.ready()
    created = (await owner.provision()).json
    reply = await guest.provision(joinUrl=created["inviteUrl"])
    assert reply.json == {
        "ok": True,
        "inviteUrl": None,
        "conversationId": created["conversationId"],
        "joined": True,
        "status": "joined",
    }


async def test_a_join_that_waits_is_joined_once_it_was_accepted(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    pending = {"ok": True, "inviteUrl": None, "conversationId": None, "joined": False, "status": "pending_acceptance"}
    for _ in range(2):
        reply = await instance.provision(joinUrl=STRANGERS_LINK)
        assert (reply.status, reply.json) == (200, pending)
    assert (await instance.provision("claim-2")).status == 409
    accepted = (await instance.ask("POST", "/convos/accept")).json
    joined = pending | {"conversationId": accepted["conversationId"], "joined": True, "status": "joined"}
    for _ in range(2):
        assert (await instance.provision(joinUrl=STRANGERS_LINK)).json == joined


async def test_a_create_that_fails_leaves_the_instance_dirty_for_ever(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_FAIL_CREATE="1")
    await instance.ready()
    assert (await instance.provision()).status == 500
    assert (await instance.ready()).json["clean"] is False
    assert (await instance.convos_status())["clean"] is False
    assert (await instance.provision("claim-2")).status == 409
    instance.terminate()
    instance.start(LOOPBACK_FAIL_CREATE="0")
    await instance.ready()
    repeat = await instance.provision()
    assert repeat.status == 409
    assert "dirty" in repeat.json["error"]
    assert (await instance.provision("claim-2")).status == 409


async def test_a_gateway_bound_by_somebody_else_is_not_provisioned(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    assert (await instance.ask("POST", "/convos/conversation", body={"name": "Mine"})).status == 200
    refused = await instance.provision()
    assert refused.status == 409
    assert (await instance.ready()).json["clean"] is False


@pytest.mark.parametrize("token", [None, "", "token-of-this-instanc", "token-of-this-instance2", "tökén"])
async def test_a_missing_or_wrong_token_is_refused(idle_instance: Instance, token: str | None) -> None:
    reply = await idle_instance.ask("POST", "/pool/provision", body={"instructions": "x"}, token=token)
    assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "token" in reply.json["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"not JSON", 400, id="not JSON"),
        pytest.param({"agentName": "A"}, 400, id="no instructions"),
        pytest.param({"instructions": "x", "joinUrl": "nowhere"}, 400, id="a bad link"),
        pytest.param({"instructions": "x", "joinUrl": "https://popup.convos.org/v2?i=a"}, 400, id="the wrong network"),
    ],
)
async def test_a_bad_body_is_refused_and_leaves_the_instance_clean(
    idle_instance: Instance, body: Any, status: int
) -> None:
    reply = await idle_instance.ask("POST", "/pool/provision", body=body, headers={"Idempotency-Key": "claim-1"})
    assert (reply.status, reply.content_type) == (status, "application/json")
    assert list(reply.json) == ["error"]
    assert (await idle_instance.ready()).json["clean"] is True


@pytest.mark.parametrize("framing", ["with its length", "in chunks"])
async def test_a_body_of_more_than_a_mebibyte_is_refused(idle_instance: Instance, framing: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1025):
            yield b" " * 1024

    body = chunks() if framing == "in chunks" else io.BytesIO(b" " * (1024 * 1024 + 1))
    reply = await idle_instance.ask("POST", "/pool/provision", body=body)
    assert (reply.status, reply.content_type) == (413, "application/json")
    assert "1048576 bytes" in reply.json["error"]


async def test_a_body_of_exactly_one_mebibyte_is_read(idle_instance: Instance) -> None:
    body = b'{"instructions":""}'
    reply = await idle_instance.ask("POST", "/pool/provision", body=body + b" " * (1024 * 1024 - len(body)))
    assert (reply.status, reply.json["error"]) == (400, "instructions is empty: say what the agent is to do.")


@pytest.mark.parametrize("key", ["k" * 256, "schlüssel"])
async def test_an_unusable_key_is_refused(idle_instance: Instance, key: str) -> None:
    reply = await idle_instance.provision(key)
    assert reply.status == 400
    assert "Idempotency-Key" in reply.json["error"]


async def test_a_join_link_without_an_invite_is_the_gateways_to_refuse(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    reply = await instance.provision(joinUrl="https://dev.convos.org/v2")
    assert reply.status == 400
    assert "no invite" in reply.json["error"]
    assert (await instance.provision("claim-2")).status == 409
