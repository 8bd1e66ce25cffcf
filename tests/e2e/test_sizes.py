"""Scaling, pausing and rolling out."""

import pytest

from tests.e2e.api import reason
from tests.e2e.system import GATEWAY, System, name_of, names, uid_of
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster

CHANGED = {"env": [{"name": "EDITION", "value": "2"}]}


def test_kubectl_scales_a_pool_up_and_down_without_touching_claimed_ones(system: System, name: str) -> None:
    system.pool(name, template=GATEWAY)
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    system.api.kubectl("scale", "agentpool", name, "--replicas=3")
    system.warm(name, 3)
    system.api.kubectl("scale", "agentpool", name, "--replicas=0")
    eventually(lambda: len(system.instances(name)) == 1, lambda: system.describe(name))
    system.claim_says(claim, "True/Bound")
    assert names(system.instances(name)) == {system.get_claim(claim)["status"]["instance"]}


def test_a_paused_pool_hands_out_what_it_has_and_launches_nothing_until_it_goes_on(system: System, name: str) -> None:
    system.pool(name, template=GATEWAY)
    system.warm(name)
    system.change(name, paused=True)
    assert "spec.paused" in system.pool_says(name, "Progressing", "False/Paused")
    before = system.api.version("agentinstances")
    first, second = system.claim(f"{name}-1", name), system.claim(f"{name}-2", name)
    system.bound(first)
    assert "is paused" in system.claim_says(second, "False/Queued")["status"]["message"]
    assert system.launches(name, before) == set()
    system.change(name, paused=False)
    system.bound(second)
    system.warm(name)


def test_a_changed_template_rolls_over_idle_instances_and_never_the_claimed_one(system: System, name: str) -> None:
    system.pool(name, minIdle=2, template=GATEWAY)
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    claimed, old = system.instance_of(claim), system.warm(name, 2)
    pids = system.pids(claimed)
    before = system.api.version("agentpools")
    system.change(name, template=CHANGED)

    def rolled() -> bool:
        pool = system.get_pool(name)
        seen = pool["status"]["observedGeneration"] == pool["metadata"]["generation"]
        return bool(seen and pool["status"]["updated"] == 2 and reason(pool, "Progressing") == "False/AtRest")

    eventually(rolled, lambda: system.describe(name))
    new = system.warm(name, 2)
    assert names(new).isdisjoint(names(old))
    assert {item["spec"]["templateHash"] for item in new} == {system.get_pool(name)["status"]["templateHash"]}
    history = [obj for _, obj in system.api.history("agentpools", before) if name_of(obj) == name]
    assert min(obj["status"]["idle"] for obj in history) >= 2, "maxUnavailable is 0"
    system.claim_says(claim, "True/Bound")
    assert uid_of(system.instance_of(claim)) == uid_of(claimed)
    assert system.pids(claimed) == pids


def test_with_on_delete_outdated_instances_stay_until_they_are_deleted(system: System, name: str) -> None:
    system.pool(name, template=GATEWAY, rollout={"strategy": "OnDelete"})
    (old,) = system.warm(name)
    system.change(name, template=CHANGED)

    def seen() -> bool:
        pool = system.get_pool(name)
        return bool(pool["status"]["observedGeneration"] == pool["metadata"]["generation"])

    eventually(seen)
    assert names(system.warm(name)) == {name_of(old)}
    system.api.kubectl("delete", "agentinstance", name_of(old))
    (new,) = system.warm(name)
    assert new["spec"]["templateHash"] == system.get_pool(name)["status"]["templateHash"]
    assert new["spec"]["templateHash"] != old["spec"]["templateHash"]
