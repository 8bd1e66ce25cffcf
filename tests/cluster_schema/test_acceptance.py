"""What the API server accepts, what it fills in, and what a status may say."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from controller.model import KINDS, AgentPool, PoolStatus, condition_of

pytestmark = pytest.mark.cluster

Spec = dict[str, Any]
Manifest = Callable[..., dict[str, Any]]

MERGE = {"Content-Type": "application/merge-patch+json"}
PROCESS: Spec = {"backend": {"process": {}}}
INSTANCE: Spec = {"pool": "p", "templateHash": "0123456789", **PROCESS}
CLAIM: Spec = {"pool": "p"}
FULL_POOL: Spec = {
    "minIdle": 3,
    "maxTotal": 3,
    "paused": True,
    "backend": {"process": {"terminationGraceSeconds": 0}},
    "template": {
        "command": ["agentpool-agent", "--verbose"],
        "env": [
            {"name": "PLAIN", "value": ""},
            {"name": "HIDDEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "provider"}}},
            {"name": "EMPTY"},
        ],
        "resources": {"memory": "512Mi"},
        "protocol": "convos",
    },
    "startup": {"deadlineSeconds": 1, "probeIntervalMilliseconds": 50},
    "health": {"intervalSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 1},
    "claims": {
        "whenEmpty": "Fail",
        "bindTimeoutSeconds": 1,
        "provisionTimeoutSeconds": 1,
        "defaultLifetimeSeconds": 60,
        "maxLifetimeSeconds": 60,
    },
    "rollout": {"strategy": "OnDelete", "maxSurge": 0, "maxUnavailable": 0},
    "circuitBreaker": {"failures": 1, "openSeconds": 1},
}
DOCKER_POOL: Spec = {
    "backend": {
        "docker": {
            "pullPolicy": "Always",
            "imagePullSecret": {"name": "registry"},
            "network": "agents",
            "publishAddress": "::1",
            "init": False,
            "readOnlyRootFilesystem": False,
            "addCapabilities": ["NET_BIND_SERVICE"],
            "logs": {"maxSize": "1g", "maxFiles": 1},
            "labels": {"com.example/team": "support"},
            "terminationGraceSeconds": 3600,
        }
    },
    "warmStrategy": "Paused",
    "template": {
        "image": "registry.example.com:5000/acme/agent_x:1.4-rc.1@sha256:0123456789abcdef",
        "port": 65535,
        "stateDir": "/var/lib/agent",
        "volume": {"onDelete": "Retain"},
        "resources": {"memory": "2Gi", "cpu": "0.5", "pids": 512},
    },
}
RAILWAY: Spec = {"projectId": "p-1", "environmentId": "e-1", "tokenSecretRef": {"name": "railway", "key": "token"}}
RAILWAY_POOL: Spec = {
    "backend": {
        "railway": {
            **RAILWAY,
            "tokenType": "Workspace",
            "plan": "Pro",
            "imagePullSecret": {"name": "registry"},
            "region": "europe-west4-drams3a",
            "sleepApplication": True,
            "healthcheckPath": "/pool/health",
            "restartPolicy": "OnFailure",
            "terminationGraceSeconds": 0,
        }
    },
    "template": {
        "git": {
            "repo": "acme/agents.git-2",
            "branch": "release/1.x",
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "rootDirectory": "/agent",
            "dockerfilePath": "docker/Dockerfile",
        },
        "network": "production",
        "env": [{"name": "OTHER", "value": "1"}],
        "volume": {},
        "resources": {"memory": "2Gi", "cpu": "500m"},
    },
    "startup": {"buildDeadlineSeconds": 1, "deployDeadlineSeconds": 1},
}

GOOD_MANIFESTS: dict[str, tuple[str, Spec]] = {
    "the smallest pool": ("agentpools", PROCESS),
    "a pool with everything": ("agentpools", FULL_POOL),
    "a pool of containers": (
        "agentpools",
        {"backend": {"docker": {}}, "template": {"image": "agent"}},
    ),
    "a pool of containers with everything": ("agentpools", DOCKER_POOL),
    "a pool of services": ("agentpools", {"backend": {"railway": RAILWAY}, "template": {"image": "agent:1"}}),
    "a pool of services with everything": ("agentpools", RAILWAY_POOL),
    "a pool that says its network by a variable": (
        "agentpools",
        {**PROCESS, "template": {"env": [{"name": "XMTP_ENV", "value": "dev"}]}},
    ),
    "a pool of processes on a network": ("agentpools", {**PROCESS, "template": {"network": "dev"}}),
    "an instance that is a service": (
        "agentinstances",
        {**INSTANCE, "backend": RAILWAY_POOL["backend"], "template": RAILWAY_POOL["template"]},
    ),
    "an instance in a container": (
        "agentinstances",
        {**INSTANCE, "backend": DOCKER_POOL["backend"], "template": DOCKER_POOL["template"]},
    ),
    "a pool that launches on demand": ("agentpools", {**PROCESS, "minIdle": 0}),
    "a pool with memory in bytes": (
        "agentpools",
        {**PROCESS, "template": {"resources": {"memory": "536870912"}}},
    ),
    "an idle instance": ("agentinstances", INSTANCE),
    "a claimed instance": ("agentinstances", {**INSTANCE, "claimRef": {"name": "c", "uid": "2"}}),
    "the smallest claim": ("agentclaims", CLAIM),
    "a claim with everything": (
        "agentclaims",
        {
            "pool": "p",
            "agentName": "Ada Лавлейс 🦆",
            "instructions": "Be kind.",
            "joinUrl": "https://example.com/v2?i=abc%20def#fragment",
            "priority": -1_000_000,
            "lifetimeSeconds": 31_536_000,
            "bindTimeoutSeconds": 1,
        },
    ),
    "a claim with the longest instructions": ("agentclaims", {**CLAIM, "instructions": "é" * 65_536}),
    "a claim with instructions from a Secret": (
        "agentclaims",
        {**CLAIM, "instructionsFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ),
    "a claim with instructions from a ConfigMap": (
        "agentclaims",
        {**CLAIM, "instructionsFrom": {"configMapKeyRef": {"name": "s", "key": "k"}}},
    ),
}
MODELS = {kind.plural: kind for kind in KINDS}


def dumped(parsed: Any) -> Any:
    return parsed.model_dump(mode="json", by_alias=True, exclude_none=True)


def test_the_definitions_are_accepted_without_a_warning(installed: list[httpx.Response]) -> None:
    assert [answer.headers.get("Warning") for answer in installed] == [None] * len(KINDS)


@pytest.mark.parametrize(("plural", "spec"), GOOD_MANIFESTS.values(), ids=GOOD_MANIFESTS)
def test_a_good_manifest_is_accepted_with_the_defaults_that_the_models_have(
    api: httpx.Client, manifest: Manifest, plural: str, spec: Spec
) -> None:
    answer = api.post(plural, json=manifest(plural, spec), params={"fieldValidation": "Strict"})
    assert answer.status_code == 201, answer.text
    assert answer.headers.get("Warning") is None
    local: Any = MODELS[plural].parse({"spec": spec})
    # The operator writes instances in full, so the API server is spared to default them.
    expected = spec if plural == "agentinstances" else dumped(local.spec)
    assert answer.json()["spec"] == expected
    assert "status" not in answer.json()


def test_null_is_the_same_as_absent(api: httpx.Client, manifest: Manifest) -> None:
    spec = {**CLAIM, "instructions": None, "agentName": None, "joinUrl": None}
    answer = api.post("agentclaims", json=manifest("agentclaims", spec))
    assert answer.status_code == 201, answer.text
    assert answer.json()["spec"] == {"pool": "p", "agentName": "Assistant", "priority": 0}


def test_an_idle_instance_takes_a_claim(api: httpx.Client, manifest: Manifest) -> None:
    created = api.post("agentinstances", json=manifest("agentinstances", INSTANCE)).json()
    created["spec"]["claimRef"] = {"name": "c", "uid": "2", "agentName": "Ada"}
    answer = api.put(f"agentinstances/{created['metadata']['name']}", json=created)
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"]["claimRef"] == {"name": "c", "uid": "2", "agentName": "Ada"}


def test_labels_and_finalizers_of_a_claim_and_an_instance_may_change(api: httpx.Client, manifest: Manifest) -> None:
    for plural, spec in (("agentclaims", CLAIM), ("agentinstances", INSTANCE)):
        created = api.post(plural, json=manifest(plural, spec)).json()
        change = {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}}
        answer = api.patch(f"{plural}/{created['metadata']['name']}", json=change, headers=MERGE)
        assert answer.status_code == 200, answer.text
        assert answer.json()["metadata"]["generation"] == 1


CONDITION: Spec = {
    "type": "Ready",
    "status": "True",
    "reason": "EnoughIdle",
    "message": "3 of 3 instances are idle.",
    "lastTransitionTime": "2026-01-02T03:04:05.678901Z",
    "observedGeneration": 1,
}
MOMENT = "2026-01-02T03:04:05.000001+00:00"
STATUSES: dict[str, tuple[str, Spec, Spec]] = {
    "agentpools": (
        "agentpools",
        PROCESS,
        {
            "observedGeneration": 1,
            "idle": 3,
            "total": 3,
            "templateHash": "0123456789",
            "selector": "agentpool.dev/pool=p",
            "circuitBreaker": {"state": "HalfOpen", "failures": 2, "openedAt": MOMENT, "lastFailure": "no memory"},
            "conditions": [CONDITION, {"type": "Degraded", "status": "Unknown"}],
        },
    ),
    "agentinstances": (
        "agentinstances",
        INSTANCE,
        {"phase": "Idle", "url": "http://127.0.0.1:4000", "readyAt": MOMENT, "conditions": [CONDITION]},
    ),
    "agentclaims": (
        "agentclaims",
        CLAIM,
        {"phase": "PendingAcceptance", "instance": "i", "joined": True, "boundAt": MOMENT, "conditions": [CONDITION]},
    ),
}


@pytest.mark.parametrize(("plural", "spec", "status"), STATUSES.values(), ids=STATUSES)
def test_a_status_is_kept_as_it_was_written(
    api: httpx.Client, manifest: Manifest, plural: str, spec: Spec, status: Spec
) -> None:
    created = api.post(plural, json=manifest(plural, spec)).json()
    path = f"{plural}/{created['metadata']['name']}/status"
    answer = api.put(path, json={**created, "status": status}, params={"fieldValidation": "Strict"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == status
    assert answer.json()["spec"] == created["spec"]
    assert answer.json()["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("plural", "spec", "status", "field"),
    [
        ("agentinstances", INSTANCE, {"phase": "Sleeping"}, "status.phase"),
        ("agentclaims", CLAIM, {"phase": "Idle"}, "status.phase"),
        ("agentpools", PROCESS, {"conditions": [{"type": "Ready"}]}, "status.conditions[0].status"),
        ("agentpools", PROCESS, {"conditions": [CONDITION, CONDITION]}, "status.conditions[1]"),
        ("agentclaims", CLAIM, {"boundAt": "yesterday"}, "status.boundAt"),
    ],
)
def test_a_status_that_makes_no_sense_is_refused(
    api: httpx.Client, manifest: Manifest, plural: str, spec: Spec, status: Spec, field: str
) -> None:
    created = api.post(plural, json=manifest(plural, spec)).json()
    answer = api.put(f"{plural}/{created['metadata']['name']}/status", json={**created, "status": status})
    assert answer.status_code == 422
    assert field in [cause["field"] for cause in answer.json()["details"]["causes"]]


def test_what_the_operator_writes_is_what_it_reads(api: httpx.Client, manifest: Manifest) -> None:
    created = api.post("agentpools", json=manifest("agentpools", FULL_POOL)).json()
    status = PoolStatus.model_validate({"idle": 2, "conditions": [CONDITION]})
    path = f"agentpools/{created['metadata']['name']}/status"
    api.put(path, json={**created, "status": dumped(status)}).raise_for_status()
    read = AgentPool.parse(api.get(f"agentpools/{created['metadata']['name']}").json())
    assert read.status == status
    ready = condition_of(read.status.conditions, "Ready")
    assert ready is not None
    assert ready.last_transition_time == datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_a_status_in_a_new_object_is_ignored(api: httpx.Client, manifest: Manifest) -> None:
    answer = api.post("agentclaims", json=manifest("agentclaims", CLAIM, status={"phase": "Bound"}))
    assert answer.status_code == 201
    assert "status" not in answer.json()
