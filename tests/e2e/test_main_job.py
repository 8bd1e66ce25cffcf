"""A pool is warm, a claim is bound, the agent is given back."""

import pytest

from tests.e2e import host
from tests.e2e.api import condition
from tests.e2e.system import System, name_of, names, uid_of
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster


def test_a_claim_on_a_warm_pool_gets_an_agent_and_giving_it_back_destroys_it(system: System, name: str) -> None:
    pool = system.pool(name)
    system.api.kubectl("wait", "--for=condition=Ready", f"agentpool/{pool}", "--timeout=60s")
    (warm,) = system.warm(pool)
    system.api.kubectl("wait", "--for=condition=Ready", f"agentinstance/{name_of(warm)}", "--timeout=60s")

    claim = system.claim(f"{name}-c", pool, agentName="Planner", instructions="Plan a trip to Tokyo.")
    system.api.kubectl("wait", "--for=condition=Ready", f"agentclaim/{claim}", "--timeout=60s")
    status = system.get_claim(claim)["status"]
    assert (status["phase"], status["instance"], status["joined"]) == ("Bound", name_of(warm), False)
    assert status["inviteUrl"].startswith("https://dev.convos.org/v2?i=")
    assert system.api.kubectl("get", "aclaim", claim, "-o", "wide").splitlines()[1].split()[-1] == status["inviteUrl"]
    eventually(lambda: [event["reason"] for event in system.api.events(claim)] == ["Bound"])

    instance = eventually(lambda: next(iter(system.instances(pool, "Claimed")), None), lambda: system.describe(pool))
    assert instance is not None
    assert instance["spec"]["claimRef"] == {
        "name": claim,
        "uid": uid_of(system.get_claim(claim)),
        "agentName": "Planner",
    }
    assert instance["status"]["conversationId"] == status["conversationId"]
    assert condition(instance, "Ready")["reason"] == "Claimed"
    instructions = system.home(instance) / "state" / "workspace" / "INSTRUCTIONS.md"
    assert instructions.read_text() == "Plan a trip to Tokyo."

    family = system.pids(instance)
    assert len(family) == 2, "the supervisor and its gateway"
    system.warm(pool)
    system.api.kubectl("delete", "agentclaim", claim, "--timeout=60s")
    system.gone("agentinstances", name_of(instance))
    assert not system.pids(instance)
    assert not system.home(instance).exists()
    (refilled,) = system.warm(pool)
    assert uid_of(refilled) != uid_of(instance)


def test_the_columns_answer_an_operators_first_questions(system: System, name: str) -> None:
    pool = system.pool(name, minIdle=1, maxTotal=5)
    system.warm(pool)
    header, row = system.api.kubectl("get", "apool", pool).splitlines()
    assert header.split() == [
        "NAME",
        "MIN-IDLE",
        "IDLE",
        "STARTING",
        "CLAIMED",
        "CRASHED",
        "TOTAL",
        "MAX",
        "READY",
        "AGE",
    ]
    assert row.split()[:-1] == [pool, "1", "1", "0", "0", "0", "1", "5", "True"]


def test_deleting_a_pool_destroys_all_its_instances(system: System, name: str) -> None:
    pool = system.pool(name, minIdle=1)
    claim = system.claim(f"{name}-c", pool)
    system.bound(claim)
    instances = [*system.warm(pool), *system.instances(pool, "Claimed")]
    assert len(instances) == 2
    system.api.kubectl("delete", "agentpool", pool, "--timeout=60s")
    for instance in instances:
        system.gone("agentinstances", name_of(instance))
        assert not host.processes_of(system.instances_root, uid_of(instance))
    system.claim_says(claim, "False/InstanceDeleted")


def test_several_claims_at_once_get_an_agent_each(system: System, name: str) -> None:
    pool = system.pool(name, minIdle=2)
    system.warm(pool, 2)
    claims = [system.claim(f"{name}-{number}", pool) for number in range(3)]
    statuses = [system.bound(claim)["status"] for claim in claims]
    assert len({status["instance"] for status in statuses}) == 3
    assert len({status["conversationId"] for status in statuses}) == 3
    assert names(system.warm(pool, 2)).isdisjoint(status["instance"] for status in statuses)
