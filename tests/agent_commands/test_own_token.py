"""By which token an instance shows the operator who it is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent_commands.conftest import TOKEN, Done, Operator

BROUGHT, INNER = "brought-by-a-provision-request", "token-of-the-gateway"


@pytest.fixture
def shown(operator: Operator, run: Callable[..., Done], tmp_path: Path) -> Callable[..., str]:
    """What the operator is shown, given what is in the record of the provision request and in the environment."""

    def shown(record: bytes | None, **environment: str) -> str:
        operator.answers(200, {"status": "ok"})
        if record is not None:
            (tmp_path / "provision.json").write_bytes(record)
        assert run("heartbeat", OPENCLAW_STATE_DIR=str(tmp_path), **environment).exit == 0
        return operator.asked[-1].headers["authorization"].removeprefix("Bearer ")

    return shown


def record(token: str | None) -> bytes:
    return json.dumps({"key": "claim-1", "answer": None, "token": token}).encode()


def test_what_a_provision_request_has_brought_leads(shown: Callable[..., str]) -> None:
    assert shown(record(BROUGHT)) == BROUGHT
    assert shown(record(BROUGHT), OPENCLAW_GATEWAY_TOKEN=INNER, AGENT_TOKEN=TOKEN) == BROUGHT


def test_inside_the_gateway_it_is_not_the_gateways_own(shown: Callable[..., str]) -> None:
    assert shown(None, OPENCLAW_GATEWAY_TOKEN=INNER, AGENT_TOKEN=TOKEN) == TOKEN


@pytest.mark.parametrize(
    "written",
    [
        *(None, record(None), b'{"key": "claim-1", "answer": null}', b"{", b"[]"),
        pytest.param(b"[" * 5000, id="nested deeper than anybody reads"),
    ],
    ids=repr,
)
def test_without_one_it_is_what_the_instance_was_launched_with(
    shown: Callable[..., str], written: bytes | None
) -> None:
    assert shown(written) == TOKEN
