"""What becomes of claims that cannot be bound at once, and of claims that end."""

import pytest

from tests.e2e.api import condition
from tests.e2e.system import GATEWAY, System, name_of
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster


def test_a_claim_for_a_missing_pool_waits_and_is_bound_when_the_pool_appears(system: System, name: str) -> None:
    claim = system.claim(f"{name}-c", name)
    waiting = system.claim_says(claim, "False/PoolNotFound")
    assert waiting["status"]["phase"] == "Pending"
    assert f"there is no AgentPool {name}" in waiting["status"]["message"]
    assert "create it" in waiting["status"]["message"]
    system.pool(name, template=GATEWAY)
    system.bound(claim)


def test_where_claims_may_not_wait_one_that_finds_nothing_idle_fails_and_says_what_to_do(
    system: System, name: str
) -> None:
    system.pool(name, minIdle=0, claims={"whenEmpty": "Fail"})
    claim = system.claim(f"{name}-c", name)
    failed = system.claim_says(claim, "False/NoIdleInstance")
    assert failed["status"]["phase"] == "Failed"
    assert "set whenEmpty to Queue" in failed["status"]["message"]
    eventually(lambda: any(event["reason"] == "NoIdleInstance" for event in system.api.events(claim)))


def test_waiting_claims_are_served_by_priority_and_know_their_place(system: System, name: str) -> None:
    system.pool(name, minIdle=1, maxTotal=1, template=GATEWAY)
    holder = system.claim(f"{name}-holder", name)
    system.bound(holder)
    low, high = system.claim(f"{name}-low", name), system.claim(f"{name}-high", name, priority=5)

    def places() -> tuple[object, object]:
        return tuple(system.get_claim(claim).get("status", {}).get("queuePosition") for claim in (high, low))

    eventually(lambda: places() == (1, 2), places)
    assert "raise maxTotal" in system.pool_says(name, "Degraded", "True/Exhausted")
    system.api.kubectl("delete", "aclaim", holder)
    system.bound(high)
    assert system.get_claim(low)["status"]["phase"] == "Pending"
    system.api.kubectl("delete", "aclaim", high)
    system.bound(low)


def test_a_claim_expires_when_its_lifetime_is_over_and_its_agent_is_destroyed(system: System, name: str) -> None:
    system.pool(name, minIdle=0, template=GATEWAY, claims={"maxLifetimeSeconds": 1})
    claim = system.claim(f"{name}-c", name, lifetimeSeconds=600)
    expired = system.phase(claim, "Expired")
    assert condition(expired, "Ready")["reason"] == "LifetimeOver"
    system.gone("agentinstances", expired["status"]["instance"])
    assert system.get_claim(claim)["status"]["phase"] == "Expired"


def test_a_claim_that_is_not_bound_in_time_fails_and_says_what_it_waited_for(system: System, name: str) -> None:
    system.pool(name, minIdle=0, paused=True)
    claim = system.claim(f"{name}-c", name, bindTimeoutSeconds=1)
    failed = system.claim_says(claim, "False/BindTimeout")
    assert failed["status"]["phase"] == "Failed"
    assert "raise bindTimeoutSeconds" in failed["status"]["message"]


def test_a_claim_deleted_while_it_waits_is_forgotten(system: System, name: str) -> None:
    system.pool(name, minIdle=0, paused=True, template=GATEWAY)
    left, stays = system.claim(f"{name}-left", name), system.claim(f"{name}-stays", name)
    eventually(lambda: system.get_pool(name).get("status", {}).get("waitingClaims") == 2)
    system.api.kubectl("delete", "aclaim", left)
    eventually(lambda: system.get_pool(name)["status"]["waitingClaims"] == 1)
    before = system.api.version("agentinstances")
    system.change(name, paused=False)
    system.bound(stays)
    assert len(system.launches(name, before)) == 1


def test_a_pool_without_warm_instances_launches_on_demand(system: System, name: str) -> None:
    system.pool(name, minIdle=0, template=GATEWAY)
    system.api.kubectl("wait", "--for=condition=Ready", f"agentpool/{name}", "--timeout=60s")
    assert system.instances(name) == []
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    system.api.kubectl("delete", "aclaim", claim)
    eventually(lambda: system.instances(name) == [], lambda: system.describe(name))


def test_an_agent_whose_instance_is_deleted_by_hand_is_not_replaced_behind_its_owners_back(
    system: System, name: str
) -> None:
    system.pool(name, minIdle=0, template=GATEWAY)
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    system.api.kubectl("delete", "ainst", name_of(system.instance_of(claim)))
    evicted = system.claim_says(claim, "False/InstanceDeleted")
    assert evicted["status"]["phase"] == "Evicted"
    assert "create another claim" in evicted["status"]["message"]
