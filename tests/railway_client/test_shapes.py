"""Answers are read strictly where they are used, and with indifference everywhere else."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.backends.railway.failures import Unanswered
from controller.backends.railway.shapes import EnvironmentConfigAnswer, EnvironmentPage, ServiceCreated, read

SERVICE: dict[str, Any] = {
    "serviceId": "s-1",
    "serviceName": "ap-1",
    "createdAt": "2026-01-02T03:04:05.678Z",
    "deletedAt": None,
    "sleepApplication": None,
    "rootDirectory": None,
    "source": {"image": "ghcr.io/x/y@sha256:00", "repo": None},
    "domains": {"serviceDomains": [{"domain": "ap-1.up.railway.app", "targetPort": 8080}]},
    "latestDeployment": {
        "id": "d-1",
        "status": "SUCCESS",
        "createdAt": "2026-01-02T03:04:05Z",
        "statusUpdatedAt": None,
        "deploymentStopped": False,
        "instances": [{"status": "RUNNING"}],
    },
}
ENVIRONMENT: dict[str, Any] = {
    "environment": {
        "id": "e-1",
        "name": "dev",
        "projectId": "p-1",
        "deletedAt": None,
        "serviceInstances": {
            "edges": [{"node": SERVICE}],
            "pageInfo": {"hasNextPage": True, "endCursor": "c-1"},
        },
        "volumeInstances": {
            "edges": [
                {
                    "node": {
                        "volumeId": "v-1",
                        "serviceId": None,
                        "mountPath": "/state",
                        "isPendingDeletion": True,
                        "deletedAt": None,
                        "volume": {"id": "v-1", "name": "state"},
                    }
                }
            ],
            "pageInfo": {"hasNextPage": False, "endCursor": "c-2"},
        },
    }
}


def answer(**changes: Any) -> dict[str, Any]:
    """The environment, with other values in its service."""
    told = copy.deepcopy(ENVIRONMENT)
    told["environment"]["serviceInstances"]["edges"][0]["node"] |= changes
    return told


def test_an_environment_is_read() -> None:
    environment = read(EnvironmentPage, ENVIRONMENT).environment
    assert environment.service_instances is not None
    assert environment.volume_instances is not None
    (service,), (volume,) = environment.service_instances.nodes, environment.volume_instances.nodes
    assert (service.service_id, service.created_at) == ("s-1", datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC))
    assert service.domains.service_domains[0].target_port == 8080
    assert service.latest_deployment is not None
    assert service.latest_deployment.instances[0].status == "RUNNING"
    assert (volume.volume_id, volume.is_pending_deletion, volume.volume.name) == ("v-1", True, "state")
    assert (environment.service_instances.next, environment.volume_instances.next) == ("c-1", None)


def test_a_status_and_fields_that_are_not_known_yet_lose_nothing() -> None:
    told = answer(latestDeployment={"id": "d-1", "status": "LEVITATING", "warp": 9}, moons=["Io"])
    environment = read(EnvironmentPage, told).environment
    assert environment.service_instances is not None
    deployment = environment.service_instances.nodes[0].latest_deployment
    assert deployment is not None
    assert deployment.status == "LEVITATING"


def test_a_service_without_a_deployment_is_one() -> None:
    environment = read(EnvironmentPage, answer(latestDeployment=None, source=None)).environment
    assert environment.service_instances is not None
    assert environment.service_instances.nodes[0].latest_deployment is None


def test_a_list_that_was_not_asked_for_is_told_from_an_empty_one() -> None:
    told = copy.deepcopy(ENVIRONMENT)
    del told["environment"]["volumeInstances"]
    told["environment"]["serviceInstances"]["edges"] = []
    environment = read(EnvironmentPage, told).environment
    assert environment.volume_instances is None
    assert environment.service_instances is not None
    assert environment.service_instances.nodes == ()


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"environment": None},
        answer(serviceId=None),
        answer(latestDeployment={"id": "d-1"}),
        answer(domains={"serviceDomains": [{"domain": None}]}),
    ],
)
def test_an_answer_of_another_shape_concludes_nothing(told: dict[str, Any]) -> None:
    with pytest.raises(Unanswered, match="Railway's answer is of another shape than expected at environment"):
        read(EnvironmentPage, told)


def test_a_creation_without_an_id_may_have_happened() -> None:
    with pytest.raises(Unanswered, match=r"at serviceCreate\.id"):
        read(ServiceCreated, {"serviceCreate": {"name": "ap-1"}})


def test_variables_are_read_and_sealed_ones_have_no_value() -> None:
    config = {
        "services": {
            "s-1": {"variables": {"A": {"value": "1"}, "B": {"isSealed": True}, "C": None}, "deploy": None},
            "s-2": None,
        }
    }
    services = read(
        EnvironmentConfigAnswer, {"environment": {"id": "e-1", "config": config}}
    ).environment.config.services
    service = services["s-1"]
    assert service is not None
    assert service.variables["A"] is not None
    assert service.variables["A"].value == "1"
    assert service.variables["B"] is not None
    assert service.variables["B"].value is None
    assert service.variables["C"] is None
    assert service.deploy == {}
    assert services["s-2"] is None


def test_no_value_of_a_variable_is_shown_by_what_holds_it_or_by_an_error() -> None:
    config = {"services": {"s-1": {"variables": {"KEY": {"value": "hush"}}}}}
    assert "hush" not in repr(read(EnvironmentConfigAnswer, {"environment": {"id": "e-1", "config": config}}))
    with pytest.raises(Unanswered) as caught:
        read(EnvironmentConfigAnswer, {"environment": {"id": "e-1", "config": {"services": {"s-1": "hush"}}}})
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None
