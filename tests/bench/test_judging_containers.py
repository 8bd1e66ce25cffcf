"""The benchmark's judgement of containers, and of what can run on a machine."""

from typing import Any

import pytest

from controller.errors import Misconfigured
from tests.bench.catalogue import SCENARIOS, runnable
from tests.bench.claims import SeenClaim
from tests.bench.containers import Usage
from tests.bench.verdict import Sight, remains, remote_faults

MAX_TOTAL = 2


def bound_claim(name: str, instance: str, conversation: str) -> SeenClaim:
    return SeenClaim(name, due_at=0.0, phase="Bound", bound_at=1.0, instance=instance, conversation=conversation)


def stored(*claims: str | None) -> list[dict[str, Any]]:
    return [{"spec": {"claimRef": {"name": name}} if name else {}} for name in claims]


def two_bound_claims() -> tuple[list[SeenClaim], list[Sight]]:
    claims = [
        bound_claim("claim-1", "instance-a", "conversation-1"),
        bound_claim("claim-2", "instance-b", "conversation-2"),
    ]
    sights = [
        Sight("claim-1", stored("claim-1", None), 2, "conversation-1"),
        Sight("claim-2", stored("claim-2", None), 2, "conversation-2"),
    ]
    return claims, sights


def test_containers_whose_agents_say_what_their_claims_say_are_called_right() -> None:
    assert remote_faults(*two_bound_claims(), MAX_TOTAL, "containers") == []


@pytest.mark.parametrize("told", ["conversation-9", None], ids=["in another conversation", "in none"])
def test_a_bound_claim_whose_agent_is_elsewhere_is_noticed(told: str | None) -> None:
    claims, sights = two_bound_claims()
    sights[0] = Sight("claim-1", [], 1, told)
    found = remote_faults(claims, sights, MAX_TOTAL, "containers")
    assert found == ["1 Bound claims have no conversation at their instance: claim-1"]


def test_a_bound_claim_without_a_conversation_is_noticed_although_its_agent_has_none_either() -> None:
    claims, sights = two_bound_claims()
    claims[0].conversation = None
    sights[0] = Sight("claim-1", [], 1, None)
    found = remote_faults(claims, sights, MAX_TOTAL, "containers")
    assert found == ["1 Bound claims have no conversation at their instance: claim-1"]


def test_a_container_that_two_claims_were_given_is_noticed() -> None:
    claims, sights = two_bound_claims()
    claims[1].instance, claims[1].conversation = "instance-a", "conversation-1"
    sights[1] = Sight("claim-2", [], 1, "conversation-1")
    assert remote_faults(claims, sights, MAX_TOTAL, "containers") == [
        "1 instances were given to two claims: instance-a",
        "1 conversations belong to two claims: conversation-1",
    ]


def test_a_claim_on_a_container_that_was_never_bound_is_noticed() -> None:
    claims, sights = two_bound_claims()
    claims[1].bound_at = None
    assert remote_faults(claims, sights, MAX_TOTAL, "containers") == ["1 claims were never Bound: claim-2"]


def test_more_containers_than_max_total_and_a_claim_with_two_of_them_are_noticed() -> None:
    claims, sights = two_bound_claims()
    sights[0] = Sight("claim-1", stored("claim-1", "claim-1", None), 4, "conversation-1")
    assert remote_faults(claims, sights, MAX_TOTAL, "containers") == [
        "1 claims own two instances: claim-1",
        "4 containers existed, maxTotal is 2",
        "3 AgentInstances existed, maxTotal is 2",
    ]


def test_what_is_left_on_the_engine_is_named() -> None:
    assert remains([], "containers") == []
    assert remains(["b", "a"], "containers") == ["2 containers or volumes are left although their pool is gone: a, b"]


@pytest.mark.parametrize("cache", ["total_inactive_file", "inactive_file"], ids=["cgroup v1", "cgroup v2"])
def test_files_that_the_kernel_may_drop_are_not_the_memory_of_a_container(cache: str) -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 50 * 2**20, "stats": {cache: 10 * 2**20}},
    }
    assert Usage.read(stats) == Usage(cpu_seconds=1.5, memory_megabytes=40.0)


def test_without_an_engine_the_scenarios_on_one_are_left_out_with_the_reason() -> None:
    names, sentence = runnable(None, lambda: "there is no dockerd")
    assert names == ["serial", "burst", "poisson15", "poisson45", "restart", "railway"]
    assert sentence is not None
    assert sentence.startswith("docker-running, docker-paused, docker-cold are left out")
    assert "there is no dockerd" in sentence


def test_a_scenario_on_an_engine_that_was_asked_for_is_refused_where_there_is_none() -> None:
    with pytest.raises(Misconfigured, match=r"docker-cold cannot run here, since .*there is no dockerd"):
        runnable(["serial", "docker-cold"], lambda: "there is no dockerd")


def test_with_an_engine_everything_runs() -> None:
    assert runnable(None, lambda: None) == (list(SCENARIOS), None)


def test_nobody_looks_for_an_engine_that_no_scenario_needs() -> None:
    def look() -> str | None:
        raise AssertionError

    assert runnable(["serial"], look) == (["serial"], None)
