"""Instances that die or hang."""

import signal

import pytest

from tests.e2e import host
from tests.e2e.system import GATEWAY, System, name_of, names, uid_of
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster


def test_an_idle_instance_that_is_killed_is_replaced(system: System, name: str) -> None:
    system.pool(name, template=GATEWAY)
    (victim,) = system.warm(name)
    host.signal_all(system.pids(victim), signal.SIGKILL)
    eventually(lambda: names(system.idle(name)).isdisjoint({name_of(victim)}))
    (other,) = system.warm(name)
    assert uid_of(other) != uid_of(victim)
    eventually(lambda: any(event["reason"] == "Exited" for event in system.api.events(name_of(victim))))


def test_a_claim_whose_agent_is_killed_says_so_and_cleans_up_when_it_is_deleted(system: System, name: str) -> None:
    system.pool(name)
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    instance = system.instance_of(claim)
    host.signal_one(int(instance["status"]["backendId"].removeprefix("pid ")), signal.SIGKILL)
    crashed = system.claim_says(claim, "False/InstanceCrashed")
    assert crashed["status"]["phase"] == "Bound"
    assert "delete the claim to give it back" in crashed["status"]["message"]
    assert system.api.get("agentinstances", name_of(instance))["status"]["phase"] == "Crashed"
    eventually(lambda: not system.pids(instance))
    system.warm(name)
    assert system.api.find("agentinstances", name_of(instance)), "a claimed instance stays until it is given back"
    system.api.kubectl("delete", "aclaim", claim)
    system.gone("agentinstances", name_of(instance))


def test_a_claimed_instance_that_hangs_is_crashed_and_is_claimed_again_when_it_recovers(
    system: System, name: str
) -> None:
    health = {"intervalSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2}
    system.pool(name, minIdle=0, health=health)
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    instance = system.instance_of(claim)
    family = system.pids(instance)
    host.signal_all(family, signal.SIGSTOP)
    system.claim_says(claim, "False/InstanceCrashed")
    system.instance_says(name_of(instance), "False/HealthCheckFailed")
    host.signal_all(family, signal.SIGCONT)
    system.claim_says(claim, "True/Bound")
    healed = system.instance_says(name_of(instance), "True/Claimed")
    assert healed["status"]["phase"] == "Claimed"
    assert system.pids(instance) == family
