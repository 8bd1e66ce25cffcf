"""What the API server refuses, and that it says where and what to do."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.cluster

Spec = dict[str, Any]
Manifest = Callable[..., dict[str, Any]]

MERGE = {"Content-Type": "application/merge-patch+json"}
PROCESS: Spec = {"backend": {"process": {}}}
INSTANCE: Spec = {"pool": "p", "poolUid": "1", "templateHash": "0123456789", **PROCESS}
BOUND: Spec = {**INSTANCE, "claimRef": {"name": "c", "uid": "2", "agentName": "Ada"}}
CLAIM: Spec = {"pool": "p"}
SECRET: Spec = {"name": "s", "key": "k"}


def pool(**changed: Any) -> Spec:
    return {**PROCESS, **changed}


def docker(**changed: Any) -> Spec:
    return {"backend": {"docker": {}}, "template": {"image": "agent:1"}, **changed}


def railway(template: Spec | None = None, *, backend: Spec | None = None, **changed: Any) -> Spec:
    options = {"projectId": "p", "environmentId": "e", "tokenSecretRef": SECRET} | (backend or {})
    options = {name: value for name, value in options.items() if value is not None}
    return {
        "backend": {"railway": options},
        "template": {"image": "agent:1"} if template is None else template,
        **changed,
    }


def env(*variables: Spec) -> Spec:
    return pool(template={"env": list(variables)})


def claim(**changed: Any) -> Spec:
    return {**CLAIM, **changed}


BAD_MANIFESTS: list[tuple[str, str, Any, str, str]] = [
    ("no spec", "agentpools", None, "spec", "Required value"),
    ("no backend", "agentpools", {}, "spec.backend", "Required value"),
    ("an empty backend", "agentpools", {"backend": {}}, "spec.backend", "set backend.railway, backend.docker or"),
    (
        "two backends",
        "agentpools",
        docker(backend={"process": {}, "docker": {}}),
        "spec.backend",
        "must name exactly one backend",
    ),
    ("docker without an image", "agentpools", {"backend": {"docker": {}}}, "spec", "set template.image"),
    ("a process with an image", "agentpools", pool(template={"image": "a:1"}), "spec", "use backend.docker"),
    ("a process with a volume", "agentpools", pool(template={"volume": {}}), "spec", "use backend.docker"),
    (
        "a process with a share of the processor",
        "agentpools",
        pool(template={"resources": {"cpu": "1"}}),
        "spec",
        "use backend.docker",
    ),
    ("a process that pauses", "agentpools", pool(warmStrategy="Paused"), "spec", "set warmStrategy to Running"),
    (
        "all three backends",
        "agentpools",
        {**railway(), "backend": {**railway()["backend"], "process": {}, "docker": {}}},
        "spec.backend",
        "must name exactly one backend",
    ),
    (
        "railway and docker",
        "agentpools",
        {**railway(), "backend": {**railway()["backend"], "docker": {}}},
        "spec.backend",
        "must name exactly one backend",
    ),
    ("railway without a source", "agentpools", railway({}), "spec", "set template.image or template.git"),
    ("railway with pids", "agentpools", railway({"image": "a", "resources": {"pids": 99}}), "spec", "has no pids"),
    ("railway that pauses", "agentpools", railway(warmStrategy="Paused"), "spec", "set sleepApplication"),
    (
        "railway without a token",
        "agentpools",
        railway(backend={"tokenSecretRef": None}),
        "spec.backend.railway.tokenSecretRef",
        "Required value",
    ),
    (
        "railway without a project",
        "agentpools",
        railway(backend={"projectId": None}),
        "spec.backend.railway.projectId",
        "Required value",
    ),
    (
        "an environment by its address",
        "agentpools",
        railway(backend={"environmentId": "https://railway.com/project/1"}),
        "spec.backend.railway.environmentId",
        "should match",
    ),
    (
        "an unknown kind of token",
        "agentpools",
        railway(backend={"tokenType": "OAuth"}),
        "spec.backend.railway.tokenType",
        'supported values: "Project", "Account", "Workspace"',
    ),
    (
        "an unknown plan",
        "agentpools",
        railway(backend={"plan": "Enterprise"}),
        "spec.backend.railway.plan",
        'supported values: "Free", "Hobby", "Pro"',
    ),
    (
        "an image and source code",
        "agentpools",
        railway({"image": "agent:1", "git": {"repo": "acme/agents"}}),
        "spec.template",
        "remove one of them",
    ),
    (
        "a repository by its address",
        "agentpools",
        railway({"git": {"repo": "https://github.com/acme/agents"}}),
        "spec.template.git.repo",
        "should match",
    ),
    (
        "a branch with a blank",
        "agentpools",
        railway({"git": {"repo": "acme/agents", "branch": "my branch"}}),
        "spec.template.git.branch",
        "should match",
    ),
    (
        "a short commit",
        "agentpools",
        railway({"git": {"repo": "acme/agents", "commit": "0123456"}}),
        "spec.template.git.commit",
        "at least 40 chars long",
    ),
    ("a process with source code", "agentpools", pool(template={"git": {"repo": "a/b"}}), "spec", "no image, git"),
    ("docker with source code", "agentpools", docker(template={"git": {"repo": "a/b"}}), "spec", "set template.image"),
    (
        "an unknown network",
        "agentpools",
        pool(template={"network": "local"}),
        "spec.template.network",
        'supported values: "dev", "production"',
    ),
    (
        "a network and its variable",
        "agentpools",
        pool(template={"network": "dev", "env": [{"name": "A"}, {"name": "XMTP_ENV", "value": "dev"}]}),
        "spec.template",
        "remove XMTP_ENV from env, or network",
    ),
    (
        "a build without time",
        "agentpools",
        railway(startup={"buildDeadlineSeconds": 0}),
        "spec.startup.buildDeadlineSeconds",
        "greater than or equal to 1",
    ),
    (
        "an unknown warmStrategy",
        "agentpools",
        docker(warmStrategy="Frozen"),
        "spec.warmStrategy",
        'supported values: "Running", "Paused"',
    ),
    (
        "an image by URL",
        "agentpools",
        docker(template={"image": "https://registry/agent"}),
        "spec.template.image",
        "without spaces or https://",
    ),
    (
        "processor time in words",
        "agentpools",
        docker(template={"image": "a:1", "resources": {"cpu": "half"}}),
        "spec.template.resources.cpu",
        "for example 2, 0.5 or 500m",
    ),
    (
        "a relative state directory",
        "agentpools",
        docker(template={"image": "a:1", "stateDir": "data"}),
        "spec.template.stateDir",
        "should match",
    ),
    (
        "a capability in lower case",
        "agentpools",
        docker(backend={"docker": {"addCapabilities": ["net_admin"]}}),
        "spec.backend.docker.addCapabilities[0]",
        "should match",
    ),
    (
        "minIdle above maxTotal",
        "agentpools",
        pool(minIdle=3, maxTotal=2),
        "spec.minIdle",
        "raise maxTotal or lower minIdle",
    ),
    ("minIdle above the default of maxTotal", "agentpools", pool(minIdle=11), "spec.minIdle", "raise maxTotal"),
    ("negative minIdle", "agentpools", pool(minIdle=-1), "spec.minIdle", "greater than or equal to 0"),
    ("maxTotal of 0", "agentpools", pool(maxTotal=0), "spec.maxTotal", "greater than or equal to 1"),
    ("a huge maxTotal", "agentpools", pool(maxTotal=10_001), "spec.maxTotal", "less than or equal to 10000"),
    ("minIdle as text", "agentpools", pool(minIdle="2"), "spec.minIdle", "must be of type integer"),
    ("minIdle as a fraction", "agentpools", pool(minIdle=1.5), "spec.minIdle", "must be of type int"),
    ("paused as text", "agentpools", pool(paused="yes"), "spec.paused", "must be of type boolean"),
    (
        "no step for a rollout",
        "agentpools",
        pool(rollout={"maxSurge": 0, "maxUnavailable": 0}),
        "spec.rollout",
        "raise one of them",
    ),
    (
        "an unknown strategy",
        "agentpools",
        pool(rollout={"strategy": "Recreate"}),
        "spec.rollout.strategy",
        'supported values: "RollingUpdate", "OnDelete"',
    ),
    (
        "an unknown whenEmpty",
        "agentpools",
        pool(claims={"whenEmpty": "Wait"}),
        "spec.claims.whenEmpty",
        'supported values: "Queue", "Fail"',
    ),
    (
        "a default lifetime above the maximum",
        "agentpools",
        pool(claims={"defaultLifetimeSeconds": 20, "maxLifetimeSeconds": 10}),
        "spec.claims",
        "lower the one or raise the other",
    ),
    (
        "memory in words",
        "agentpools",
        pool(template={"resources": {"memory": "lots"}}),
        "spec.template.resources.memory",
        "for example 512Mi or 2Gi",
    ),
    (
        "a negative deadline",
        "agentpools",
        pool(startup={"deadlineSeconds": -5}),
        "spec.startup.deadlineSeconds",
        "greater than or equal to 1",
    ),
    (
        "a variable with two values",
        "agentpools",
        env({"name": "A", "value": "1", "valueFrom": {"secretKeyRef": SECRET}}),
        "spec.template.env[0]",
        "remove one of them",
    ),
    (
        "two variables of one name",
        "agentpools",
        env({"name": "A", "value": "1"}, {"name": "A", "value": "2"}),
        "spec.template.env[1]",
        "Duplicate value",
    ),
    ("a variable without a name", "agentpools", env({"value": "1"}), "spec.template.env[0].name", "Required value"),
    ("a variable with a dash", "agentpools", env({"name": "A-B"}), "spec.template.env[0].name", "should match"),
    (
        "a Secret without a key",
        "agentpools",
        env({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}),
        "spec.template.env[0].valueFrom.secretKeyRef.key",
        "Required value",
    ),
    ("an instance of no pool", "agentinstances", PROCESS, "spec.pool", "Required value"),
    ("a claim on no pool", "agentclaims", {}, "spec.pool", "Required value"),
    (
        "instructions from two places",
        "agentclaims",
        claim(instructions="Be kind.", instructionsFrom={"secretKeyRef": SECRET}),
        "spec",
        "remove one of them",
    ),
    (
        "instructions from nowhere",
        "agentclaims",
        claim(instructionsFrom={}),
        "spec.instructionsFrom",
        "exactly one of configMapKeyRef and secretKeyRef",
    ),
    (
        "instructions from a Secret and a ConfigMap",
        "agentclaims",
        claim(instructionsFrom={"secretKeyRef": SECRET, "configMapKeyRef": SECRET}),
        "spec.instructionsFrom",
        "exactly one of configMapKeyRef and secretKeyRef",
    ),
    (
        "very long instructions",
        "agentclaims",
        claim(instructions="x" * 65_537),
        "spec.instructions",
        "65536",
    ),
    (
        "an invite that is not https",
        "agentclaims",
        claim(joinUrl="http://example.com/join"),
        "spec.joinUrl",
        "copy the whole invite URL",
    ),
    (
        "a negative lifetime",
        "agentclaims",
        claim(lifetimeSeconds=-1),
        "spec.lifetimeSeconds",
        "greater than or equal to 1",
    ),
    ("a nameless agent", "agentclaims", claim(agentName=""), "spec.agentName", "at least 1 chars long"),
]

BAD_CHANGES: list[tuple[str, str, Spec, Spec, str, str]] = [
    ("the agent's name of a claim", "agentclaims", CLAIM, {"agentName": "Eve"}, "spec", "create another"),
    ("the pool of a claim", "agentclaims", CLAIM, {"pool": "q"}, "spec", "create another"),
    ("a lifetime added to a claim", "agentclaims", CLAIM, {"lifetimeSeconds": 5}, "spec", "create another"),
    (
        "the template of an instance",
        "agentinstances",
        INSTANCE,
        {"template": {"protocol": "convos"}},
        "spec",
        "change its pool's template, or delete the instance",
    ),
    (
        "the backend of an instance",
        "agentinstances",
        INSTANCE,
        {"backend": {"process": {"terminationGraceSeconds": 1}}},
        "spec",
        "change its pool's template, or delete the instance",
    ),
    (
        "the token of an instance",
        "agentinstances",
        {**INSTANCE, **railway()},
        {"backend": {"railway": {"tokenSecretRef": {"name": "newer"}}}},
        "spec",
        "change its pool's template, or delete the instance",
    ),
    (
        "the network of an instance",
        "agentinstances",
        INSTANCE,
        {"template": {"network": "dev"}},
        "spec",
        "change its pool's template, or delete the instance",
    ),
    ("the pool of an instance", "agentinstances", INSTANCE, {"pool": "q"}, "spec", "delete the instance"),
    (
        "the claim of a bound instance",
        "agentinstances",
        BOUND,
        {"claimRef": {"name": "d", "uid": "3"}},
        "spec",
        "delete the claim",
    ),
    (
        "the uid of the claim alone",
        "agentinstances",
        BOUND,
        {"claimRef": {"uid": "3"}},
        "spec",
        "delete the claim",
    ),
    ("the claim taken away", "agentinstances", BOUND, {"claimRef": None}, "spec", "delete the claim"),
    ("minIdle above maxTotal", "agentpools", pool(maxTotal=2), {"minIdle": 3}, "spec.minIdle", "raise maxTotal"),
    ("maxTotal below minIdle", "agentpools", pool(minIdle=3), {"maxTotal": 2}, "spec.minIdle", "lower minIdle"),
    ("the backend taken away", "agentpools", PROCESS, {"backend": {"process": None}}, "spec.backend", "exactly one"),
]


def refused(answer: httpx.Response, field: str, remedy: str) -> None:
    """The answer is 422, with a cause at the field that names the remedy, in the text that kubectl shows too."""
    assert answer.status_code == 422, answer.text
    status = answer.json()
    assert status["reason"] == "Invalid"
    causes = [it for it in status["details"]["causes"] if it.get("field") == field]
    assert any(remedy in it["message"] for it in causes), status["message"]
    assert remedy in status["message"]
    assert field in status["message"]


@pytest.mark.parametrize(
    ("plural", "spec", "field", "remedy"), [it[1:] for it in BAD_MANIFESTS], ids=[it[0] for it in BAD_MANIFESTS]
)
def test_a_bad_manifest_is_refused_with_the_field_and_the_remedy(
    api: httpx.Client, manifest: Manifest, plural: str, spec: Any, field: str, remedy: str
) -> None:
    body = manifest(plural, spec)
    if spec is None:
        del body["spec"]
    refused(api.post(plural, json=body), field, remedy)
    assert api.get(f"{plural}/{body['metadata']['name']}").status_code == 404


@pytest.mark.parametrize(
    ("plural", "spec", "change", "field", "remedy"), [it[1:] for it in BAD_CHANGES], ids=[it[0] for it in BAD_CHANGES]
)
def test_a_bad_change_is_refused_and_changes_nothing(
    api: httpx.Client, manifest: Manifest, plural: str, spec: Spec, change: Spec, field: str, remedy: str
) -> None:
    created = api.post(plural, json=manifest(plural, spec)).raise_for_status().json()
    path = f"{plural}/{created['metadata']['name']}"
    refused(api.patch(path, json={"spec": change}, headers=MERGE), field, remedy)
    assert api.get(path).json() == created


def test_a_pool_whose_name_has_51_characters_is_refused(api: httpx.Client, manifest: Manifest) -> None:
    body = manifest("agentpools", PROCESS) | {"metadata": {"name": "x" * 51}}
    answer = api.post("agentpools", json=body)
    assert answer.status_code == 422
    assert "the name of a pool may have 50 characters at most" in answer.json()["message"]
    assert "choose a shorter one" in answer.json()["message"]


def test_a_pool_whose_name_has_50_characters_is_accepted(api: httpx.Client, manifest: Manifest) -> None:
    body = manifest("agentpools", PROCESS) | {"metadata": {"name": "x" * 50}}
    assert api.post("agentpools", json=body).status_code == 201


@pytest.mark.parametrize(
    ("plural", "spec", "field"),
    [
        ("agentpools", pool(minIdel=3), "spec.minIdel"),
        ("agentpools", pool(rollout={"surge": 1}), "spec.rollout.surge"),
        ("agentclaims", claim(instruction="Be kind."), "spec.instruction"),
        ("agentinstances", {**INSTANCE, "claim": "c"}, "spec.claim"),
    ],
)
def test_a_misspelt_field_is_refused_in_strict_mode(
    api: httpx.Client, manifest: Manifest, plural: str, spec: Spec, field: str
) -> None:
    answer = api.post(plural, json=manifest(plural, spec), params={"fieldValidation": "Strict"})
    assert answer.status_code == 400
    assert f'unknown field "{field}"' in answer.json()["message"]


def test_a_misspelt_field_is_dropped_otherwise(api: httpx.Client, manifest: Manifest) -> None:
    body = manifest("agentpools", pool(minIdel=3))
    answer = api.post("agentpools", json=body, params={"fieldValidation": "Ignore"})
    assert answer.status_code == 201
    assert "minIdel" not in answer.json()["spec"]
