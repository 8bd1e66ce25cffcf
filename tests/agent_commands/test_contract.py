"""The recorded exchanges: what the commands ask, and what they make of the answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent_commands.conftest import TOKEN, Done, Operator

EXCHANGES = [
    exchange
    for path in sorted(Path(__file__).with_name("contract").glob("*.json"))
    for exchange in json.loads(path.read_text("utf-8"))
]


@pytest.fixture(params=EXCHANGES, ids=lambda exchange: exchange["story"].replace(" ", "-"))
def exchange(request: pytest.FixtureRequest, operator: Operator) -> dict[str, Any]:
    """One exchange, whose answer the operator has at hand."""
    recorded: dict[str, Any] = request.param
    operator.answers(recorded["response"]["status"], recorded["response"]["body"])
    return recorded


def test_a_command_asks_and_says_what_is_recorded(
    exchange: dict[str, Any], operator: Operator, run: Callable[..., Done]
) -> None:
    done = run(*exchange["command"], stdin=exchange.get("stdin", "").encode())
    [asked] = operator.asked
    assert asked.line == f"POST {exchange['request']['path']} HTTP/1.1"
    assert asked.headers["authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.body) == exchange["request"]["body"]
    said, complained = exchange.get("says"), exchange.get("complains")
    assert done.out == (f"{said}\n" if said else "")
    assert done.err == (f"{complained}\n" if complained else "")
    assert done.exit == exchange["exit"]


def test_with_json_the_answer_is_printed_as_it_came(
    exchange: dict[str, Any], operator: Operator, run: Callable[..., Done]
) -> None:
    done = run(*exchange["command"], "--json", stdin=exchange.get("stdin", "").encode())
    assert done.exit == exchange["exit"]
    if done.exit == 0 or exchange["response"]["body"].get("status") == "pool_full":
        assert json.loads(done.out) == exchange["response"]["body"]
        assert done.out.count("\n") == 1
    else:
        assert done.out == ""
