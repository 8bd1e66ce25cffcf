"""What people see and do with kubectl: columns, scale, explain."""

import re
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.cluster

Spec = dict[str, Any]
Manifest = Callable[..., dict[str, Any]]

MERGE = {"Content-Type": "application/merge-patch+json"}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
PROCESS: Spec = {"backend": {"process": {}}}
READY: Spec = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}
NOT_DEGRADED: Spec = {"type": "Degraded", "status": "False", "lastTransitionTime": "2026-01-02T03:04:05Z"}

POOL_STATUS: Spec = {
    "idle": 1,
    "starting": 2,
    "claimed": 3,
    "crashed": 4,
    "total": 10,
    "conditions": [NOT_DEGRADED, READY],
}
CELLS: dict[str, tuple[str, Spec, Spec, dict[str, Any], dict[str, Any]]] = {
    "a pool": (
        "agentpools",
        {**PROCESS, "minIdle": 5, "maxTotal": 12},
        POOL_STATUS,
        {
            "Min-Idle": 5,
            "Idle": 1,
            "Starting": 2,
            "Claimed": 3,
            "Crashed": 4,
            "Total": 10,
            "Max": 12,
            "Ready": "True",
        },
        {},
    ),
    "a pool that nobody looked at": (
        "agentpools",
        PROCESS,
        {},
        {
            "Min-Idle": 1,
            "Idle": None,
            "Starting": None,
            "Claimed": None,
            "Crashed": None,
            "Total": None,
            "Max": 10,
            "Ready": None,
        },
        {},
    ),
    "an instance": (
        "agentinstances",
        {
            "pool": "p",
            "templateHash": "0123456789",
            **PROCESS,
            "claimRef": {"name": "c", "uid": "2", "agentName": "Ada"},
        },
        {"phase": "Claimed", "url": "http://127.0.0.1:4000", "backendId": "4711"},
        {"Pool": "p", "Phase": "Claimed", "Claim": "c", "Agent": "Ada"},
        {"URL": "http://127.0.0.1:4000", "Backend-ID": "4711", "Template": "0123456789"},
    ),
    "a claim": (
        "agentclaims",
        {"pool": "p", "agentName": "Ada"},
        {"phase": "Bound", "instance": "i", "inviteUrl": "https://example.com/i"},
        {"Pool": "p", "Phase": "Bound", "Agent": "Ada", "Instance": "i"},
        {"Invite-URL": "https://example.com/i"},
    ),
}


@pytest.mark.parametrize(("plural", "spec", "status", "narrow", "wide"), CELLS.values(), ids=CELLS)
def test_the_columns_answer_an_operators_first_questions(
    api: httpx.Client,
    manifest: Manifest,
    plural: str,
    spec: Spec,
    status: Spec,
    narrow: dict[str, Any],
    wide: dict[str, Any],
) -> None:
    created = api.post(plural, json=manifest(plural, spec)).json()
    name = created["metadata"]["name"]
    api.put(f"{plural}/{name}/status", json={**created, "status": status}).raise_for_status()
    table = api.get(f"{plural}/{name}", headers=TABLE).raise_for_status().json()
    assert table["kind"] == "Table"
    columns = [(column["name"], column["priority"]) for column in table["columnDefinitions"]]
    assert columns == [(it, 0) for it in ("Name", *narrow, "Age")] + [(it, 1) for it in wide]
    (row,) = table["rows"]
    cells = dict(zip((it for it, _ in columns), row["cells"], strict=True))
    assert re.fullmatch(r"\d+[smhd].*", cells.pop("Age"))
    assert cells == {"Name": name, **narrow, **wide}


def kubectl(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        ["kubectl", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_kubectl_get_agents_shows_all_three_kinds_by_their_category(
    api: httpx.Client, manifest: Manifest, namespace: str, kubectl_environment: dict[str, str]
) -> None:
    instance = {"pool": "p", "templateHash": "0", **PROCESS}
    made = []
    for plural, spec in (("agentpools", PROCESS), ("agentinstances", instance), ("agentclaims", {"pool": "p"})):
        created = api.post(plural, json=manifest(plural, spec)).raise_for_status().json()
        made.append(f"{created['kind'].lower()}.agentpool.dev/{created['metadata']['name']}")
    shown = kubectl(kubectl_environment, "-n", namespace, "get", "agents", "-o", "name").split()
    assert set(made) <= set(shown)


@pytest.mark.parametrize(
    ("short", "header"),
    [
        ("apool", "NAME MIN-IDLE IDLE STARTING CLAIMED CRASHED TOTAL MAX READY AGE"),
        ("ainst", "NAME POOL PHASE CLAIM AGENT AGE"),
        ("aclaim", "NAME POOL PHASE AGENT INSTANCE AGE"),
    ],
)
def test_kubectl_get_by_the_short_name_shows_the_columns(
    api: httpx.Client,
    manifest: Manifest,
    namespace: str,
    kubectl_environment: dict[str, str],
    short: str,
    header: str,
) -> None:
    plural = {"apool": "agentpools", "ainst": "agentinstances", "aclaim": "agentclaims"}[short]
    spec = {"apool": PROCESS, "ainst": {"pool": "p", "templateHash": "0", **PROCESS}, "aclaim": {"pool": "p"}}[short]
    api.post(plural, json=manifest(plural, spec)).raise_for_status()
    shown = kubectl(kubectl_environment, "-n", namespace, "get", short).splitlines()[0]
    assert shown.split() == header.split()


def test_kubectl_wait_sees_the_ready_condition(
    api: httpx.Client, manifest: Manifest, namespace: str, kubectl_environment: dict[str, str]
) -> None:
    created = api.post("agentclaims", json=manifest("agentclaims", {"pool": "p"})).json()
    name = created["metadata"]["name"]
    api.put(f"agentclaims/{name}/status", json={**created, "status": {"conditions": [READY]}}).raise_for_status()
    told = kubectl(
        kubectl_environment, "-n", namespace, "wait", "--for=condition=Ready", f"aclaim/{name}", "--timeout=30s"
    )
    assert told == f"agentclaim.agentpool.dev/{name} condition met\n"


def test_a_pool_is_scaled_by_its_minimum_of_idle_instances(api: httpx.Client, manifest: Manifest) -> None:
    created = api.post("agentpools", json=manifest("agentpools", PROCESS)).json()
    path = f"agentpools/{created['metadata']['name']}"
    status = {"idle": 4, "selector": "agentpool.dev/pool=p"}
    api.put(f"{path}/status", json={**created, "status": status}).raise_for_status()
    scale = api.get(f"{path}/scale").raise_for_status().json()
    assert scale["apiVersion"] == "autoscaling/v1"
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 4, "selector": "agentpool.dev/pool=p"})
    scale["spec"]["replicas"] = 7
    answer = api.put(f"{path}/scale", json=scale)
    assert answer.status_code == 200, answer.text
    assert answer.json()["spec"] == {"replicas": 7}
    after = api.get(path).json()
    assert after["spec"] == {**created["spec"], "minIdle": 7}
    assert after["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("replicas", "remedy"), [(11, "raise maxTotal or lower minIdle"), (-1, "greater than or equal to 0")]
)
def test_a_scale_that_the_pool_cannot_hold_is_refused(
    api: httpx.Client, manifest: Manifest, replicas: int, remedy: str
) -> None:
    created = api.post("agentpools", json=manifest("agentpools", PROCESS)).json()
    path = f"agentpools/{created['metadata']['name']}"
    answer = api.patch(f"{path}/scale", json={"spec": {"replicas": replicas}}, headers=MERGE)
    assert answer.status_code == 422
    assert remedy in answer.json()["message"]
    assert api.get(path).json() == created


def test_kubectl_scale_and_its_refusal_read_well(
    api: httpx.Client, manifest: Manifest, namespace: str, kubectl_environment: dict[str, str]
) -> None:
    name = api.post("agentpools", json=manifest("agentpools", PROCESS)).json()["metadata"]["name"]
    kubectl(kubectl_environment, "-n", namespace, "scale", f"apool/{name}", "--replicas=3")
    assert api.get(f"agentpools/{name}").json()["spec"]["minIdle"] == 3
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        kubectl(kubectl_environment, "-n", namespace, "scale", f"apool/{name}", "--replicas=11")
    assert "minIdle may not exceed maxTotal: raise maxTotal or lower minIdle" in refusal.value.stderr


def test_kubectl_explain_tells_what_every_field_of_a_spec_means(
    connection: httpx.Client, kubectl_environment: dict[str, str]
) -> None:
    published = connection.get("/openapi/v3")
    if not published.is_success or "apis/agentpool.dev/v1alpha1" not in published.json()["paths"]:
        pytest.skip("this API server publishes no OpenAPI document of custom resources")
    told = kubectl(kubectl_environment, "explain", "agentpool.spec")
    assert re.search(r"GROUP:\s+agentpool\.dev\nKIND:\s+AgentPool\nVERSION:\s+v1alpha1\n", told)
    assert re.search(r"minIdle\t<integer>\n\s+How many instances to hold warm and unclaimed\.", told)
    assert re.search(r"backend\t<Object> -required-\n\s+Where instances run: exactly one backend\.", told)
    assert "<no description>" not in kubectl(kubectl_environment, "explain", "agentpool.spec.template")
    whole = kubectl(kubectl_environment, "explain", "agentpool.spec.rollout.strategy")
    assert re.search(r"ENUM:\n\s+RollingUpdate\n\s+OnDelete\n", whole)
