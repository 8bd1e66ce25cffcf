from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.provision_request import ProvisionRequest

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
LINKS = st.sampled_from(
    [
        "https://dev.convos.org/v2?i=abc",
        "https://popup.convos.org/v2?i=abc",
        "https://[",
        "https://dev.convos.org:port/",
        "http://dev.convos.org/v2?i=abc",
        "//",
        "https://\u2100.example/",
    ]
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "agentName": JSON,
        "name": JSON,
        "instructions": JSON | st.text(min_size=1),
        "joinUrl": JSON | LINKS,
        "profileImage": JSON,
        "metadata": JSON,
    },
)


def parse(**fields: Any) -> ProvisionRequest:
    return ProvisionRequest.parse(json.dumps({"instructions": "Be kind.", **fields}).encode(), "dev")


def refused(body: bytes) -> str:
    with pytest.raises(AgentError) as refusal:
        ProvisionRequest.parse(body, "dev")
    assert refusal.value.status == 400
    return refusal.value.sentence


@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | FIELDS.map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_understood_or_refused_with_one_sentence(body: bytes) -> None:
    try:
        request = ProvisionRequest.parse(body, "dev")
    except AgentError as error:
        refusal = error
    else:
        assert request.instructions.strip()
        assert request.agent_name.strip()
        assert request.instructions.encode()
        assert request.join_url is None or request.join_url.startswith("https://")
        return
    assert refusal.status == 400
    assert refusal.sentence
    assert "\n" not in refusal.sentence


def test_instructions_alone_are_enough() -> None:
    request = parse()
    assert (request.agent_name, request.instructions, request.join_url) == ("Assistant", "Be kind.", None)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        pytest.param({"agentName": "Tokyo"}, "Tokyo", id="agentName"),
        pytest.param({"name": "Tokyo"}, "Tokyo", id="the older name"),
        pytest.param({"agentName": "Tokyo", "name": "Kyoto"}, "Tokyo", id="agentName leads"),
        pytest.param({"agentName": "  "}, "Assistant", id="blank"),
        pytest.param({"agentName": None, "name": "Tokyo"}, "Tokyo", id="null falls back"),
    ],
)
def test_what_the_agent_is_called(fields: dict[str, Any], name: str) -> None:
    assert parse(**fields).agent_name == name


def test_a_field_of_a_newer_manager_is_ignored() -> None:
    assert parse(mood="sunny") == parse()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"{", "not JSON", id="half"),
        pytest.param(b'{"instructions":"\\ud800"}', "not JSON", id="a lone surrogate"),
        pytest.param(b"[" * 100_000, "not JSON", id="deeply nested"),
        pytest.param(b"[]", "not a JSON object", id="an array"),
        pytest.param(b"{}", "instructions is empty", id="no instructions"),
        pytest.param(b'{"instructions":" \\n"}', "instructions is empty", id="blank instructions"),
        pytest.param(b'{"instructions":7}', "instructions is not a string", id="instructions of a wrong type"),
        pytest.param(b'{"instructions":"x","agentName":[]}', "agentName is not a string", id="name of a wrong type"),
        pytest.param(b'{"instructions":"x","agentName":"a\\nb"}', "agentName is not a name", id="two lines of name"),
        pytest.param(b'{"instructions":"x","name":"%s"}' % (b"n" * 257), "name is not a name", id="a long name"),
        pytest.param(b'{"instructions":"x","profileImage":1}', "profileImage is not a string", id="profile image"),
        pytest.param(b'{"instructions":"x","metadata":[]}', "metadata is not an object", id="metadata"),
        pytest.param(
            b'{"instructions":"x","metadata":{"a":%b}}' % (b"[" * 100 + b"]" * 100),
            "metadata is nested deeper than 100 levels",
            id="deep metadata, which nobody could write down again",
        ),
        pytest.param(b'{"instructions":"x","joinUrl":1}', "joinUrl is not a string", id="link of a wrong type"),
        pytest.param(b'{"instructions":"x","joinUrl":"abc"}', "joinUrl is not an invite link", id="a bare slug"),
        pytest.param(b'{"instructions":"x","joinUrl":"http://a/"}', "joinUrl is not an invite link", id="plain http"),
        pytest.param(
            b'{"instructions":"x","joinUrl":"https://["}', "joinUrl is not an invite link", id="a broken host"
        ),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(body: bytes, says: str) -> None:
    assert says in refused(body)


def test_metadata_may_be_nested_as_deep_as_anybody_needs() -> None:
    metadata = {"a": json.loads("[" * 99 + "]" * 99)}
    assert parse(metadata=metadata).metadata == metadata
