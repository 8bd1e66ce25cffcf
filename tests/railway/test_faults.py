"""What goes wrong: how each fault looks, and that a seed repeats it."""

from collections.abc import Sequence

import httpx
import pytest

from tests.railway import Fault, Faults, Twin
from tests.railway.asking import CREATE, DELETE, READ, VOLUME, Client, Failed

DONE = {
    Fault.LOST_REQUEST: False,
    Fault.LOST_ANSWER: True,
    Fault.ERROR_BEFORE: False,
    Fault.ERROR_AFTER: True,
    Fault.THROTTLE: False,
    Fault.TRUNCATED: True,
    Fault.BAD_GATEWAY: False,
    Fault.GATEWAY_TIMEOUT: True,
    Fault.TOO_MANY: False,
    Fault.EDGE_LIMIT: False,
}


def creation(twin: Twin) -> dict[str, str]:
    return {"projectId": twin.project_id, "environmentId": twin.environments["dev"].id, "name": "agent"}


@pytest.mark.parametrize("fault", DONE)
async def test_a_fault_strikes_before_or_after_the_deed(client: Client, twin: Twin, fault: Fault) -> None:
    twin.faults.once(fault, only=["serviceCreate"])
    with pytest.raises((httpx.TransportError, ValueError, Failed)):
        await client.ask(CREATE, input=creation(twin))
    assert twin.faults.counts == {fault: 1}
    assert len(twin.project.services) == int(DONE[fault])


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_ANSWER])
async def test_a_lost_request_or_answer_is_a_connection_without_a_byte(
    client: Client, twin: Twin, fault: Fault
) -> None:
    twin.faults.once(fault)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await client.nodes()


async def test_an_error_after_the_deed_comes_with_http_200(client: Client, twin: Twin) -> None:
    twin.faults.set(Fault.ERROR_AFTER, 1.0)
    seen = []
    for _ in range(12):
        answer = await client.post(READ, id=client.environment_id)
        assert answer.status_code == 200
        [error] = answer.json()["errors"]
        assert error["message"] == "Problem processing request"
        assert answer.json()["data"] is None
        seen.append(("path" in error, error.get("extensions", {}).get("code")))
    assert set(seen) == {(False, None), (True, "INTERNAL_SERVER_ERROR")}


async def test_a_problem_without_path_and_code_comes_with_http_200(client: Client, twin: Twin) -> None:
    twin.faults.once(Fault.ERROR_BEFORE)
    answer = await client.post(READ, id=client.environment_id)
    [error] = answer.json()["errors"]
    assert answer.status_code == 200
    assert error["message"] == "Problem processing request"
    assert not {"path", "extensions"} & error.keys()


async def test_creations_are_throttled_with_http_200(client: Client, twin: Twin) -> None:
    twin.faults.set(Fault.THROTTLE, 1.0)
    with pytest.raises(Failed, match="creating services too quickly") as failure:
        await client.create("agent")
    assert failure.value.status == 200
    where = {"projectId": twin.project_id, "environmentId": client.environment_id}
    with pytest.raises(Failed, match="creating volumes too quickly"):
        await client.ask(VOLUME, input={**where, "mountPath": "/data"})
    assert await client.nodes() == []


@pytest.mark.parametrize(("fault", "status"), [(Fault.BAD_GATEWAY, 502), (Fault.GATEWAY_TIMEOUT, 504)])
async def test_a_gateway_answers_with_html(client: Client, twin: Twin, fault: Fault, status: int) -> None:
    twin.faults.once(fault)
    answer = await client.post(READ, id=client.environment_id)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_the_edge_limits_with_a_body_that_is_not_json(client: Client, twin: Twin) -> None:
    twin.faults.once(Fault.EDGE_LIMIT)
    answer = await client.post(READ, id=client.environment_id)
    assert (answer.status_code, answer.text) == (429, "error code: 1015")
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_a_slow_answer_comes(client: Client, twin: Twin) -> None:
    twin.settings.slow = (0.01, 0.02)
    twin.faults.once(Fault.SLOW)
    assert await client.nodes() == []
    assert twin.faults.counts == {Fault.SLOW: 1}


async def test_a_new_service_is_not_there_for_a_while(client: Client, twin: Twin) -> None:
    twin.settings.invisible = (600.0, 600.0)
    twin.faults.once(Fault.INVISIBLE)
    service_id = await client.create("agent")
    assert await client.nodes() == []
    with pytest.raises(Failed, match="Failed to create service domain, please try again"):
        await client.add_domain(service_id)
    with pytest.raises(Failed, match="ServiceInstance not found"):
        await client.commit(service_id, variables={})
    with pytest.raises(Failed, match="already exists"):
        await client.create("agent")
    twin.environments["dev"].instances[service_id].visible = 0.0
    await client.add_domain(service_id)
    assert await client.node(service_id) is not None


async def test_a_deleted_service_stays_in_lists_for_a_while(client: Client, twin: Twin) -> None:
    twin.settings.stale = (600.0, 600.0)
    twin.faults.once(Fault.STALE)
    service_id = await client.create("agent")
    await client.ask(DELETE, id=service_id)
    node = await client.node(service_id)
    assert node is not None
    assert node["deletedAt"] is None
    twin.settings.tombstones = True
    node = await client.node(service_id)
    assert node is not None
    assert node["deletedAt"] is not None
    with pytest.raises(Failed, match="ServiceInstance not found"):
        await client.commit(service_id, variables={})
    twin.environments["dev"].instances[service_id].listed_until = 0.0
    assert await client.nodes() == []


async def test_a_domain_may_be_refused_for_the_moment(client: Client, twin: Twin) -> None:
    service_id = await client.create("agent")
    twin.faults.once(Fault.DOMAIN_REFUSED)
    with pytest.raises(Failed, match="Failed to create service domain, please try again"):
        await client.add_domain(service_id)
    await client.add_domain(service_id)


def story(seed: int, order: Sequence[Fault]) -> dict[Fault, list[bool]]:
    """What a hundred occasions of each fault become."""
    faults = Faults(seed)
    for fault in order:
        faults.set(fault, 0.3)
    seen: dict[Fault, list[bool]] = {fault: [] for fault in order}
    for _ in range(100):
        for fault in order:
            seen[fault].append(faults.strikes(fault))
    return seen


def test_a_seed_repeats_every_fault_whatever_others_there_are() -> None:
    both = story(3, [Fault.LOST_ANSWER, Fault.SLOW])
    assert story(3, [Fault.SLOW, Fault.LOST_ANSWER]) == both
    assert story(3, [Fault.SLOW])[Fault.SLOW] == both[Fault.SLOW]
    assert story(4, [Fault.SLOW])[Fault.SLOW] != both[Fault.SLOW]
    assert 10 < sum(both[Fault.SLOW]) < 50


def test_a_fault_strikes_only_what_it_is_for() -> None:
    faults = Faults(0)
    faults.set(Fault.LOST_ANSWER, 1.0, only=["mutation"])
    faults.once(Fault.SLOW, only=["serviceCreate"], times=2)
    assert not faults.strikes(Fault.LOST_ANSWER, "Environment", "query", "environment")
    assert faults.strikes(Fault.LOST_ANSWER, "ServiceCreate", "mutation", "serviceCreate")
    assert [faults.strikes(Fault.SLOW, "serviceCreate") for _ in range(3)] == [True, True, False]
    assert faults.counts == {Fault.LOST_ANSWER: 1, Fault.SLOW: 2}
    faults.clear()
    assert not faults.strikes(Fault.LOST_ANSWER, "mutation")


async def test_a_seed_repeats_ids_names_and_tokens() -> None:
    seen = []
    for _ in range(2):
        async with Twin(seed=11) as twin, httpx.AsyncClient(trust_env=False) as http:
            client = Client(twin, http)
            service_id, url = await client.create("agent"), ""
            url = await client.add_domain(service_id)
            await client.add_volume(service_id)
            seen.append((twin.token, twin.project_id, service_id, url.rpartition("/")[2], await client.volumes()))
    assert seen[0] == seen[1]
