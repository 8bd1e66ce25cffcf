"""Any bytes at all: a probe is not ready, an order fails with an error of ours, and nothing else ever happens."""

import asyncio
import itertools
import json
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import AgentpoolError, Conflict, Refused, Transient
from controller.ports import Endpoint, Provisioned
from controller.runtime import HttpRuntime
from tests.contract.runtime.conftest import PATIENCE, open_link, order
from tests.doubles.runtime import ScriptedRuntime, answers_bytes, raw_server

SETTINGS = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NUMBERS = itertools.count()

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
words = st.sampled_from(["joined", "created", "pending_acceptance", "waiting_for_acceptance", "c-1", "https://i/1", ""])
contract_like = st.dictionaries(
    st.sampled_from(["ok", "ready", "joined", "status", "error", "conversationId", "inviteUrl"])
    | st.sampled_from(["conversation", "pending", "clean", "streaming", "inboxId"]),
    st.booleans() | words | st.fixed_dictionaries({"id": words}) | anything,
)
bodies = st.binary(max_size=200) | st.builds(lambda value: json.dumps(value).encode(), contract_like | anything)
types = st.sampled_from(["application/json", "application/problem+json", "text/html", "text/plain", "", "a/b; c=;\t,"])
statuses = st.sampled_from([200, 200, 200, 201, 204, 299, 304, 400, 401, 404, 409, 418, 429, 451, 500, 503, 999])
heads = st.sampled_from(
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xfe\r\nSet-Cookie: \xff=\x01;;;\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\r\n\r\n",
        b"HTTP/9.9 99999 \x00\r\n",
        b"HTTP/1.1 200 " + b"x" * 10_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"\x16\x03\x01",
    ]
)


async def ask_everything(runtime: HttpRuntime, url: str, protocol: Literal["pool", "convos"], join: bool) -> bool:
    """Call all three methods and check what any of them may lead to; whether the probe said ready."""
    # A token of its own, or the doubt about one example would answer for the next.
    endpoint = Endpoint(url, protocol, f"token-{next(NUMBERS)}")
    readiness = await runtime.probe(endpoint, timeout=PATIENCE)
    assert readiness.ready == (readiness.detail == "")
    assert readiness.detail.isprintable()
    try:
        provisioned = await runtime.provision(endpoint, order(join_url=open_link() if join else None), timeout=PATIENCE)
    except (Conflict, Refused, Transient) as error:
        assert_a_sentence(error)
    else:
        assert_worth_having(provisioned)
    try:
        conversation = await runtime.conversation(endpoint, timeout=PATIENCE)
    except (Refused, Transient) as error:
        assert_a_sentence(error)
    else:
        assert conversation is None or (conversation.isprintable() and conversation != "")
    return readiness.ready


def assert_a_sentence(error: AgentpoolError) -> None:
    assert str(error).isprintable()
    assert 0 < len(str(error)) < 500
    assert not isinstance(error, Refused) or error.reason.isalnum()


def assert_worth_having(provisioned: Provisioned) -> None:
    assert provisioned.pending or provisioned.conversation_id or provisioned.invite_url
    assert not (provisioned.pending and provisioned.joined)
    assert (provisioned.invite_url or "https://").startswith(("https://", "http://"))
    assert f"{provisioned.invite_url}{provisioned.conversation_id}".isprintable()


def says_ready(protocol: str, status: int, content_type: str, body: bytes) -> bool:
    """The least that a ready answer must hold, read a second time in another way."""
    if status != 200 or not content_type.endswith("json"):
        return False
    value: Any = json.loads(body)
    return value["ready"] is True if protocol == "pool" else "conversation" in value or value["clean"] in (True, False)


@pytest.mark.parametrize("protocol", ["pool", "convos"])
def test_any_body_of_any_status_and_type(protocol: Literal["pool", "convos"]) -> None:
    with asyncio.Runner() as runner:

        async def start() -> tuple[HttpRuntime, ScriptedRuntime]:
            return HttpRuntime(), await ScriptedRuntime(protocol).__aenter__()

        runtime, instance = runner.run(start())

        @SETTINGS
        @given(bodies, types, statuses, st.booleans())
        def holds(body: bytes, content_type: str, status: int, join: bool) -> None:
            instance.script = answers_bytes(body, content_type, status=status)
            ready = runner.run(ask_everything(runtime, instance.url, protocol, join))
            assert not ready or says_ready(protocol, status, content_type, body)

        try:
            holds()
        finally:
            runner.run(runtime.close())
            runner.run(instance.__aexit__())


@pytest.mark.parametrize("protocol", ["pool", "convos"])
def test_any_bytes_on_the_wire(protocol: Literal["pool", "convos"]) -> None:
    with asyncio.Runner() as runner:
        wire = b""
        server = raw_server(lambda _request: wire)

        async def start() -> tuple[HttpRuntime, str]:
            return HttpRuntime(), await server.__aenter__()

        runtime, url = runner.run(start())

        @SETTINGS
        @given(heads, bodies, st.booleans())
        def holds(head: bytes, body: bytes, join: bool) -> None:
            nonlocal wire
            wire = head + body
            runner.run(ask_everything(runtime, url, protocol, join))

        try:
            holds()
        finally:
            runner.run(runtime.close())
            runner.run(server.__aexit__(None, None, None))
