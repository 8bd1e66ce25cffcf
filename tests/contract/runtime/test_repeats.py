"""An order whose outcome nobody knows never leads to a second conversation."""

import asyncio
from dataclasses import replace

import pytest

from controller.errors import Conflict, Refused, Transient
from controller.ports import Endpoint
from controller.runtime import HttpRuntime
from tests.contract.runtime.conftest import PATIENCE, eventually, order
from tests.doubles.runtime import Script, ScriptedRuntime, acts_and_hangs, acts_and_hangs_up, answers, hangs


@pytest.mark.parametrize("script", [acts_and_hangs, acts_and_hangs_up], ids=["deadline", "hung up"])
async def test_with_keys_a_lost_answer_is_asked_for_again(
    runtime: HttpRuntime, scripted: ScriptedRuntime, script: Script
) -> None:
    scripted.script = script
    with pytest.raises(Transient):
        await runtime.provision(scripted.endpoint, order("claim-1"), timeout=0.3)
    # The request is under way when the deadline passes; it acts all the same.
    await eventually(lambda: _is(scripted.conversations.total() == 1), "the runtime acts")
    scripted.script = None

    provisioned = await runtime.provision(scripted.endpoint, order("claim-1"), timeout=PATIENCE)

    assert provisioned.conversation_id == "conversation-1"
    assert scripted.conversations == {"claim-1": 1}
    assert {seen.headers["Idempotency-Key"] for seen in scripted.seen} == {"claim-1"}


@pytest.mark.parametrize(
    "script",
    [acts_and_hangs, acts_and_hangs_up, answers({"error": "half-way"}, status=500), answers({"odd": True})],
    ids=["deadline", "hung up", "500", "another shape"],
)
async def test_without_keys_an_unknown_outcome_is_a_conflict_and_nothing_is_sent_again(
    runtime: HttpRuntime, scripted_convos: ScriptedRuntime, script: Script
) -> None:
    scripted_convos.script = script
    with pytest.raises(Transient):
        await runtime.provision(
            scripted_convos.endpoint, order(), timeout=0.3 if script is acts_and_hangs else PATIENCE
        )
    scripted_convos.script = None
    sent = len(scripted_convos.seen)

    for _ in range(2):
        with pytest.raises(Conflict, match="nobody knows what became of an earlier order"):
            await runtime.provision(scripted_convos.endpoint, order(), timeout=PATIENCE)

    assert len(scripted_convos.seen) == sent


async def test_without_keys_a_cancelled_order_is_of_unknown_outcome(
    runtime: HttpRuntime, scripted_convos: ScriptedRuntime
) -> None:
    scripted_convos.script = hangs
    task = asyncio.create_task(runtime.provision(scripted_convos.endpoint, order(), timeout=PATIENCE))
    await eventually(lambda: _is(scripted_convos.running == 1), "the order arrives")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scripted_convos.script = None

    with pytest.raises(Conflict):
        await runtime.provision(scripted_convos.endpoint, order(), timeout=PATIENCE)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answers({"error": "not ready"}, status=503), Transient),
        (answers({"error": "slow down"}, status=429), Transient),
        (answers({"error": "no such invite"}, status=400), Refused),
    ],
    ids=["503", "429", "400"],
)
async def test_without_keys_an_order_that_was_certainly_not_taken_may_be_sent_again(
    runtime: HttpRuntime, scripted_convos: ScriptedRuntime, script: Script, error: type[Exception]
) -> None:
    scripted_convos.script = script
    with pytest.raises(error):
        await runtime.provision(scripted_convos.endpoint, order(), timeout=PATIENCE)
    scripted_convos.script = None

    assert (await runtime.provision(scripted_convos.endpoint, order(), timeout=PATIENCE)).conversation_id


async def test_without_keys_an_order_that_never_left_may_be_sent_again(
    runtime: HttpRuntime, scripted_convos: ScriptedRuntime
) -> None:
    nobody = Endpoint("http://127.0.0.1:1", "convos", "t0ken-0f-this-instance")
    for _ in range(2):
        with pytest.raises(Transient, match="no connection"):
            await runtime.provision(nobody, order(), timeout=PATIENCE)


async def test_a_new_instance_at_an_old_address_is_not_in_doubt(
    runtime: HttpRuntime, scripted_convos: ScriptedRuntime
) -> None:
    scripted_convos.script = answers({}, status=500)
    with pytest.raises(Transient):
        await runtime.provision(scripted_convos.endpoint, order(), timeout=PATIENCE)
    scripted_convos.script = None
    scripted_convos.token = "token-of-its-successor"

    successor = replace(scripted_convos.endpoint, token="token-of-its-successor")
    assert (await runtime.provision(successor, order(), timeout=PATIENCE)).conversation_id


async def test_the_memory_of_doubts_is_bounded(
    runtime: HttpRuntime, scripted_convos: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.runtime.client.MAX_IN_DOUBT", 1)
    scripted_convos.script = answers({}, status=500)
    old, new = (replace(scripted_convos.endpoint, token=f"token-of-instance-{n}") for n in (1, 2))
    for endpoint in (old, new):
        with pytest.raises(Transient):
            await runtime.provision(endpoint, order(), timeout=PATIENCE)

    with pytest.raises(Conflict):
        await runtime.provision(new, order(), timeout=PATIENCE)
    with pytest.raises(Transient):
        await runtime.provision(old, order(), timeout=PATIENCE)


async def _is(condition: bool) -> bool:
    return condition
