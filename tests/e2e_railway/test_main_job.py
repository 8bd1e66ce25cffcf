"""A pool on Railway, from its first service to its last, as a person sees it."""

from typing import Any

import pytest

from tests.e2e.api import condition
from tests.e2e.system import name_of, uid_of
from tests.e2e.waiting import eventually
from tests.e2e_railway.stage import CREATING, RailwaySystem

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_a_pool_gets_warm_a_claim_is_bound_and_everything_goes_again(system: RailwaySystem, name: str) -> None:
    pool = system.pool(name, minIdle=2, template={"image": "registry.example/agents/agent:1", "volume": {}})
    idle = system.warm(pool, 2)
    for instance in idle:
        assert instance["status"]["backendId"] == system.service_of(instance)

    claim = system.bound(system.claim(f"{name}-c", pool, agentName="Tokyo trip planner", instructions="Plan."))
    claimed = system.instance_of(f"{name}-c")
    service = system.service_of(claimed)
    assert claim["status"]["inviteUrl"]
    status = system.ask(claimed, "GET", "/convos/status").json()
    assert status["conversation"]["id"] == claim["status"]["conversationId"]
    eventually(lambda: system.services()[service]["name"].startswith("tokyo-trip-pla-"), system.services)
    system.warm(pool, 2)

    system.api.delete("agentclaims", f"{name}-c")
    system.gone("agentinstances", name_of(claimed))
    assert service not in system.services()
    system.api.delete("agentpools", pool)
    system.nothing_left()
    counts = system.twin.counts()
    assert counts["doubles"] == {}
    assert counts["violations"] == {}
    assert system.twin.state()["incompleteBoots"] == {}
    for mutations in counts["mutations"].values():
        assert sum(mutations.get(each, 0) for each in CREATING) <= 4


def test_three_environments_of_one_project_have_pools_of_their_own(system: RailwaySystem, name: str) -> None:
    for environment in ("dev", "staging", "production"):
        network = "production" if environment == "production" else "dev"
        template = {
            "git": {
                "repo": "acme/agents",
                "branch": environment.replace("production", "main"),
                "rootDirectory": "agent",
            },
            "network": network,
        }
        system.pool(f"{name}-{environment}", backend=system.backend(environment), template=template)
    for environment in ("dev", "staging", "production"):
        [instance] = system.warm(f"{name}-{environment}", 1)
        labels = [each["label"] for each in system.services(environment).values() if each["latest"]]
        assert uid_of(instance) in labels

    link = "https://popup.convos.org/v2?i=abc"
    system.claim(f"{name}-c", f"{name}-dev", joinUrl=link)
    failed = system.phase(f"{name}-c", "Failed")
    assert condition(failed, "Ready")["reason"] == "WrongNetwork"
    assert "production" in failed["status"]["message"]
    assert len(system.idle(f"{name}-dev")) == 1
    for environment in ("dev", "staging", "production"):
        system.api.delete("agentpools", f"{name}-{environment}")
    for environment in ("dev", "staging", "production"):
        eventually(lambda env=environment: not system.services(env), system.twin.state)  # type: ignore[misc]


def test_a_service_that_vanished_is_replaced_if_idle_and_told_if_claimed(system: RailwaySystem, name: str) -> None:
    pool = system.pool(name, minIdle=1)
    system.warm(pool)
    system.bound(system.claim(f"{name}-c", pool))
    claimed = system.instance_of(f"{name}-c")
    [idle] = system.warm(pool)
    for instance in (idle, claimed):
        system.delete_service(system.service_of(instance))

    system.gone("agentinstances", name_of(idle))
    system.claim_says(f"{name}-c", "False/InstanceCrashed")
    system.instance_says(name_of(claimed), "False/RemoteGone")
    system.warm(pool)


def test_a_service_of_ours_without_an_instance_ends_after_the_grace_period(system: RailwaySystem, name: str) -> None:
    pool = system.pool(name, minIdle=1)
    [instance] = system.warm(pool)
    service = system.service_of(instance)
    # Without its finalizer it goes, and its service stays behind.
    system.api.patch("agentinstances", name_of(instance), {"metadata": {"finalizers": None}})
    system.api.delete("agentinstances", name_of(instance))

    eventually(lambda: service not in system.services(), system.services)
    system.warm(pool)


@pytest.mark.parametrize(
    ("options", "token", "reason", "remedy"),
    [
        ({}, "no-token", "NotAuthorized", "tokenSecretRef"),
        ({"environmentId": "7b0f2f8e-57a4-4b5e-8c1a-3d2b6f7a9c10"}, None, "EnvironmentNotFound", "environmentId"),
        ({"tokenType": "Account"}, None, "NotAuthorized", "tokenType"),
        ({"tokenSecretRef": {"name": "nowhere", "key": "token"}}, None, "TokenNotFound", "nowhere"),
    ],
    ids=["wrong token", "wrong environment", "wrong kind of token", "no Secret"],
)
def test_what_only_a_person_can_mend_is_a_condition_with_the_remedy_and_nothing_is_made(
    system: RailwaySystem, name: str, options: dict[str, Any], token: str | None, reason: str, remedy: str
) -> None:
    backend = system.backend(**options)
    if token is not None:
        system.api.create_secret(f"{name}-token", token=token)
        backend["railway"]["tokenSecretRef"] = {"name": f"{name}-token", "key": "token"}
    before = system.twin.counts()["created"]
    pool = system.pool(name, backend=backend)

    told = system.pool_says(pool, "BackendAvailable", f"False/{reason}")
    assert remedy in told
    assert system.pool_says(pool, "Degraded", f"True/{reason}") == told
    assert system.instances(pool) == []
    assert system.twin.counts()["created"] == before
    if token is not None:
        # The remedy helps, without a word to the operator.
        system.api.delete("secrets", f"{name}-token")
        system.api.create_secret(f"{name}-token", token=system.told["project_tokens"]["dev"])
        system.pool_says(pool, "BackendAvailable", "True/Available")
        system.warm(pool)


def test_a_token_that_may_only_read_makes_nothing_and_says_why(system: RailwaySystem, name: str) -> None:
    environment = system.told["environments"]["dev"]
    system.api.create_secret(f"{name}-token", token=system.twin.issue("Project", environment, read_only=True))
    way = system.backend(tokenSecretRef={"name": f"{name}-token", "key": "token"})
    before = system.twin.counts()["created"]
    pool = system.pool(name, backend=way)

    assert "tokenSecretRef" in system.pool_says(pool, "BackendAvailable", "False/NotAuthorized")
    assert system.twin.counts()["created"] == before


def test_a_plan_that_is_used_up_is_a_condition(system: RailwaySystem, name: str) -> None:
    # A place of its own: what bars it is not tried again for minutes.
    system.api.create_secret(f"{name}-token", token=system.told["project_tokens"]["dev"])
    pool = system.pool(name, backend=system.backend(tokenSecretRef={"name": f"{name}-token", "key": "token"}))
    system.warm(pool)
    system.twin.change_settings(services=len(system.services()))
    try:
        system.change(pool, minIdle=3)
        assert "plan" in system.pool_says(pool, "BackendAvailable", "False/PlanLimitReached")
        # What there is goes on working.
        system.bound(system.claim(f"{name}-c", pool))
    finally:
        system.twin.change_settings(services=None)


def test_logs_of_an_instance_are_shown_wherever_it_runs(system: RailwaySystem, name: str) -> None:
    pool = system.pool(name, minIdle=1)
    [instance] = system.warm(pool)
    told = system.agentpool("logs", name_of(instance))

    assert "the gateway listens" in told, told
