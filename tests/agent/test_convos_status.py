from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.convos import GatewayStatus, parse_status

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
KEYS = ["ready", "conversation", "streaming", "conversationId", "inboxId", "pending", "clean"]


def parse(value: Any) -> GatewayStatus | None:
    return parse_status(200, "application/json", json.dumps(value).encode())


@pytest.mark.parametrize(
    ("value", "status"),
    [
        pytest.param(
            {"ready": True, "conversation": None, "streaming": False},
            GatewayStatus(True, None, None, False, True),
            id="older shape, unbound",
        ),
        pytest.param(
            {"ready": True, "conversation": {"id": "c1"}, "streaming": True},
            GatewayStatus(True, "c1", None, False, False),
            id="older shape, bound",
        ),
        pytest.param(
            {"ready": False, "conversation": None}, GatewayStatus(False, None, None, False, True), id="not yet ready"
        ),
        pytest.param(
            {"conversationId": None, "inboxId": None, "pending": False, "clean": True},
            GatewayStatus(True, None, None, False, True),
            id="newer shape, clean",
        ),
        pytest.param(
            {"conversationId": "c1", "inboxId": "i1", "pending": False, "clean": False},
            GatewayStatus(True, "c1", None, False, False),
            id="newer shape, bound",
        ),
        pytest.param(
            {"conversationId": None, "inboxId": "i1", "pending": True, "clean": False},
            GatewayStatus(True, None, None, True, False),
            id="newer shape, waiting for acceptance",
        ),
        pytest.param(
            {"conversationId": None, "inboxId": "i1", "pending": False, "clean": False},
            GatewayStatus(True, None, None, False, False),
            id="newer shape, dirty",
        ),
    ],
)
def test_both_shapes_of_the_contract_are_read(value: dict[str, Any], status: GatewayStatus) -> None:
    assert parse(value) == status


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param((200, "text/html", b"<!doctype html>"), id="the HTML page of an unknown path"),
        pytest.param((200, "text/html", b'{"ready":true,"conversation":null}'), id="JSON that says it is HTML"),
        pytest.param((200, "application/json", b"<!doctype html>"), id="HTML that says it is JSON"),
        pytest.param((500, "application/json", b'{"ready":true,"conversation":null}'), id="a failure"),
        pytest.param((200, "application/json", b'{"ok":true}'), id="another object"),
        pytest.param((200, "application/json", b'{"ready":true}'), id="half a shape"),
        pytest.param((200, "application/json", b'{"ready":"yes","conversation":null}'), id="a wrong type"),
        pytest.param((200, "application/json", b'{"ready":true,"conversation":{}}'), id="a conversation without an id"),
        pytest.param(
            (200, "application/json", b'{"ready":true,"conversation":"c1"}'), id="a conversation that is text"
        ),
        pytest.param((200, "application/json", b"[]"), id="an array"),
    ],
)
def test_anything_else_is_not_a_status(reply: tuple[int, str, bytes]) -> None:
    assert parse_status(*reply) is None


@given(JSON | st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_answer_breaks_the_reader_and_none_is_clean_while_bound(value: Any) -> None:
    status = parse(value)
    assert status is None or isinstance(status.clean, bool)
