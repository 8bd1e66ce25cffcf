"""The benchmark's judgement of services, of what was asked of Railway, and of how long instances took to wait."""

from typing import Any

import pytest

from tests.bench.births import Births
from tests.bench.claims import SeenClaim
from tests.bench.railway_scenario import birth_figures
from tests.bench.services import DEPLOY_SECONDS
from tests.bench.verdict import Sight, railway_faults, remains, remote_faults


def told(**counted: Any) -> dict[str, Any]:
    right = {
        "doubles": {},
        "deployments": {"service-a": 1, "service-b": 1},
        "violations": {},
        "concurrentCommits": 0,
        "unidentified": 0,
    }
    return {"incompleteBoots": {}, "counts": {**right, **counted}}


def event(kind: str, uid: str, phase: str | None = None) -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": {"uid": uid}, "status": {"phase": phase} if phase else {}}}


def test_what_is_asked_of_railway_as_it_should_be_is_called_right() -> None:
    assert railway_faults(told()) == []


@pytest.mark.parametrize(
    ("counted", "sentence"),
    [
        ({"doubles": {"uid-a": 2}}, "1 instances had two services: uid-a"),
        ({"deployments": {"service-a": 2, "service-b": 1}}, "1 services were deployed twice: service-a"),
        ({"violations": {"ServiceCreate": 3}}, "1 operations went over the limits of the plan: ServiceCreate"),
        ({"concurrentCommits": 2}, "2 commits came while another one was under way"),
        ({"unidentified": 1}, "1 requests did not say where they came from"),
    ],
    ids=["doubles", "deployed twice", "over the limit", "commits at a time", "unidentified"],
)
def test_what_should_not_have_been_asked_of_railway_is_noticed(counted: dict[str, Any], sentence: str) -> None:
    assert railway_faults(told(**counted)) == [sentence]


def test_a_service_that_booted_without_all_of_its_variables_is_noticed() -> None:
    state = told() | {"incompleteBoots": {"service-a": ["PORT"]}}
    assert railway_faults(state) == ["1 services booted without all of their variables: service-a"]


def test_more_services_than_max_total_and_an_agent_elsewhere_are_noticed() -> None:
    claim = SeenClaim("claim-1", due_at=0.0, phase="Bound", bound_at=1.0, instance="a", conversation="conversation-1")
    assert remote_faults([claim], [Sight("claim-1", [], 3, "conversation-9")], 2, "services") == [
        "1 Bound claims have no conversation at their instance: claim-1",
        "3 services existed, maxTotal is 2",
    ]


def test_what_is_left_at_railway_is_named() -> None:
    assert remains(["b", "a"], "services") == ["2 services or volumes are left although their pool is gone: a, b"]


def test_an_instance_is_timed_from_its_creation_until_it_is_first_idle() -> None:
    births = Births()
    births.learn(1.0, event("ADDED", "uid-a"))
    births.learn(2.0, event("MODIFIED", "uid-a", "Starting"))
    births.learn(3.5, event("MODIFIED", "uid-a", "Idle"))
    births.learn(4.0, event("MODIFIED", "uid-a", "Idle"))
    assert births.seconds == [2.5]


def test_an_instance_that_was_there_before_or_never_gets_idle_is_not_timed() -> None:
    births = Births()
    births.learn(1.0, event("MODIFIED", "uid-old", "Idle"))
    births.learn(1.0, event("ADDED", "uid-a"))
    births.learn(2.0, event("DELETED", "uid-a", "Starting"))
    assert births.seconds == []
    assert birth_figures(births) == {}


def test_what_the_twin_takes_to_deploy_is_left_out_and_told() -> None:
    births = Births(created={"uid-a": 1.0, "uid-b": 1.0}, idle={"uid-a": 3.0, "uid-b": 5.0})
    assert birth_figures(births) == {
        "idle_p50": 2.0 - DEPLOY_SECONDS,
        "idle_max": 4.0 - DEPLOY_SECONDS,
        "twin_deploys": DEPLOY_SECONDS,
    }
