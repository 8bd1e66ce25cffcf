"""The promises of the Runtime port, against every runtime there is."""

import asyncio
from dataclasses import replace

import pytest

from controller.errors import Conflict, Refused
from controller.ports import UNAUTHORIZED, Provisioned, Readiness
from controller.runtime import HttpRuntime
from tests.contract.runtime.conftest import PATIENCE, QUICK, Subject, open_link, order, waiting_link
from tests.doubles.runtime import ScriptedRuntime

ONE_AGENT = pytest.mark.parametrize("subject", [*QUICK, "agent pool"], indirect=True)
"""For what the agent does alike in both protocols: its start is what takes the time."""


async def test_an_order_makes_a_conversation_with_an_invite(runtime: HttpRuntime, subject: Subject) -> None:
    assert await runtime.probe(subject.endpoint, timeout=PATIENCE) == Readiness(True, "")
    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE) is None

    provisioned = await runtime.provision(subject.endpoint, order(), timeout=PATIENCE)

    assert provisioned.conversation_id
    assert provisioned.invite_url is not None
    assert provisioned.invite_url.startswith("https://dev.convos.org/")
    assert (provisioned.joined, provisioned.pending) == (False, False)
    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE) == provisioned.conversation_id
    # Health checks go on for as long as the claim lives.
    assert await runtime.probe(subject.endpoint, timeout=PATIENCE) == Readiness(True, "")


async def test_a_join_link_joins_that_conversation(runtime: HttpRuntime, subject: Subject) -> None:
    provisioned = await runtime.provision(subject.endpoint, order(join_url=open_link()), timeout=PATIENCE)

    assert provisioned.conversation_id
    assert (provisioned.joined, provisioned.pending) == (True, False)
    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE) == provisioned.conversation_id


async def test_a_join_that_somebody_must_accept_is_pending_until_then(runtime: HttpRuntime, subject: Subject) -> None:
    provisioned = await runtime.provision(subject.endpoint, order(join_url=waiting_link()), timeout=PATIENCE)

    assert provisioned == Provisioned(None, None, joined=False, pending=True)
    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE) is None
    assert await runtime.probe(subject.endpoint, timeout=PATIENCE) == Readiness(True, "")

    await subject.accept()

    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE)


@ONE_AGENT
async def test_a_second_claim_finds_the_instance_taken(runtime: HttpRuntime, subject: Subject) -> None:
    first = await runtime.provision(subject.endpoint, order("claim-1"), timeout=PATIENCE)

    with pytest.raises(Conflict):
        await runtime.provision(subject.endpoint, order("claim-2"), timeout=PATIENCE)

    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE) == first.conversation_id


async def test_the_same_claim_once_more_never_makes_a_second_conversation(
    runtime: HttpRuntime, subject: Subject
) -> None:
    first = await runtime.provision(subject.endpoint, order(), timeout=PATIENCE)

    if subject.endpoint.protocol == "pool":
        assert await runtime.provision(subject.endpoint, order(), timeout=PATIENCE) == first
    else:
        with pytest.raises(Conflict):
            await runtime.provision(subject.endpoint, order(), timeout=PATIENCE)

    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE) == first.conversation_id


@ONE_AGENT
async def test_the_same_claim_twice_at_once_makes_one_conversation(runtime: HttpRuntime, subject: Subject) -> None:
    outcomes = await asyncio.gather(
        *(runtime.provision(subject.endpoint, order(), timeout=PATIENCE) for _ in range(2)), return_exceptions=True
    )

    provisioned = [outcome for outcome in outcomes if isinstance(outcome, Provisioned)]
    assert len(provisioned) == (2 if subject.endpoint.protocol == "pool" else 1)
    assert all(isinstance(outcome, Provisioned | Conflict) for outcome in outcomes)
    assert len(set(provisioned)) == 1


@ONE_AGENT
async def test_another_instances_token_is_refused(runtime: HttpRuntime, subject: Subject) -> None:
    stranger = replace(subject.endpoint, token="token-of-another-instance")

    with pytest.raises(Refused) as refusal:
        await runtime.provision(stranger, order(), timeout=PATIENCE)
    assert refusal.value.reason == "Unauthorized"
    with pytest.raises(Refused) as refusal:
        await runtime.conversation(stranger, timeout=PATIENCE)
    assert refusal.value.reason == "Unauthorized"
    assert await runtime.conversation(subject.endpoint, timeout=PATIENCE) is None


@ONE_AGENT
async def test_a_token_that_an_order_brings_opens_it_from_then_on_where_the_protocol_has_that(
    runtime: HttpRuntime, subject: Subject
) -> None:
    brought = "7e" * 32
    given = replace(order(), next_token=brought)
    first = await runtime.provision(subject.endpoint, given, timeout=PATIENCE)
    assert first.token_rotated == (subject.endpoint.protocol == "pool")
    before, after = subject.endpoint, replace(subject.endpoint, token=brought)
    counts, other = (after, before) if first.token_rotated else (before, after)

    assert await runtime.conversation(counts, timeout=PATIENCE) == first.conversation_id
    with pytest.raises(Refused) as refusal:
        await runtime.conversation(other, timeout=PATIENCE)
    assert refusal.value.reason == UNAUTHORIZED
    assert await runtime.probe(counts, timeout=PATIENCE) == Readiness(True, "")
    if first.token_rotated:
        assert await runtime.provision(after, given, timeout=PATIENCE) == first
        with pytest.raises(Refused):
            await runtime.provision(before, given, timeout=PATIENCE)


async def test_an_older_runtime_ignores_the_token_that_an_order_brings(runtime: HttpRuntime) -> None:
    async with ScriptedRuntime("pool", rotates=False) as older:
        given = replace(order(), next_token="7e" * 32)
        assert not (await runtime.provision(older.endpoint, given, timeout=PATIENCE)).token_rotated
        assert await runtime.conversation(older.endpoint, timeout=PATIENCE)
