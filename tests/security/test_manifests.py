"""The manifests of the operator: complete, hardened, and of nothing that the API server does not know."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from controller.settings import Settings
from tests.security.pod_security import Spec, violations

MANIFESTS = Path(__file__).parents[2] / "manifests"
DOCUMENTS = [
    document
    for path in [MANIFESTS / "namespace.yaml", *sorted((MANIFESTS / "operator").glob("*.yaml"))]
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
]
MODELS = {
    "ClusterRole": client.V1ClusterRole,
    "Deployment": client.V1Deployment,
    "Namespace": client.V1Namespace,
    "NetworkPolicy": client.V1NetworkPolicy,
    "PodDisruptionBudget": client.V1PodDisruptionBudget,
    "Role": client.V1Role,
    "RoleBinding": client.V1RoleBinding,
    "ServiceAccount": client.V1ServiceAccount,
}


def document(kind: str) -> Spec:
    (found,) = [each for each in DOCUMENTS if each["kind"] == kind]
    assert isinstance(found, dict)
    return found


def template() -> Spec:
    spec: Spec = copy.deepcopy(document("Deployment")["spec"]["template"])
    return spec


def unknown(value: Any, wanted: str, path: str) -> list[str]:
    """Fields that the published API of Kubernetes does not have, and values of another type than it says."""
    outer = re.fullmatch(r"(List|Dict)\[(?:str, )?(.*)\]", wanted)
    if outer is not None:
        if not isinstance(value, list if outer[1] == "List" else dict):
            return [f"{path} is no {outer[1]}"]
        inner = enumerate(value) if isinstance(value, list) else value.items()
        return [found for key, each in inner for found in unknown(each, outer[2], f"{path}[{key}]")]
    model = getattr(client, wanted, None)
    if model is None:
        return [] if wanted == "object" or type(value).__name__ == wanted else [f"{path} is no {wanted}"]
    names = {attribute: name for name, attribute in model.attribute_map.items()}
    return [
        found
        for key, each in value.items()
        for found in (
            unknown(each, model.openapi_types[names[key]], f"{path}.{key}") if key in names else [f"{path}.{key}"]
        )
    ]


@pytest.mark.parametrize("thing", DOCUMENTS, ids=lambda thing: f"{thing['kind']} {thing['metadata']['name']}")
def test_the_api_server_knows_every_field(thing: Spec) -> None:
    assert unknown(thing, MODELS[thing["kind"]].__name__, thing["kind"]) == []


def test_a_field_that_nobody_knows_is_found() -> None:
    deployment = document("Deployment")
    broken = copy.deepcopy(deployment)
    broken["spec"]["template"]["spec"]["securityContext"]["runAsNonRot"] = True
    broken["spec"]["replicas"] = "two"
    assert unknown(broken, "V1Deployment", "it") == [
        "it.spec.replicas is no int",
        "it.spec.template.spec.securityContext.runAsNonRot",
    ]


def test_the_pod_is_admitted_where_pod_security_is_restricted() -> None:
    assert violations(template()["spec"]) == []
    labels = document("Namespace")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def _set(*path: str | int, value: Any) -> Callable[[Spec], None]:
    def change(pod: Spec) -> None:
        place: Any = pod
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


OWN = ("containers", 0, "securityContext")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set("hostNetwork", value=True), "hostNetwork"),
        (_set("volumes", 0, value={"name": "x", "hostPath": {"path": "/"}}), "restricted volume types: hostPath"),
        (_set("securityContext", "runAsUser", value=0), "runAsUser=0"),
        (_set("securityContext", "runAsNonRoot", value=False), "runAsNonRoot != true"),
        (_set("securityContext", "seccompProfile", "type", value="Unconfined"), "seccompProfile"),
        (_set(*OWN, "privileged", value=True), "privileged"),
        (_set(*OWN, "allowPrivilegeEscalation", value=True), "allowPrivilegeEscalation != false"),
        (_set(*OWN, "capabilities", value={}), "unrestricted capabilities"),
        (_set(*OWN, "capabilities", "add", value=["NET_ADMIN"]), "unrestricted capabilities"),
        (_set("containers", 0, "ports", 0, "hostPort", value=8090), "hostPort"),
    ],
)
def test_a_pod_that_wants_more_is_refused(change: Callable[[Spec], None], why: str) -> None:
    pod = template()["spec"]
    change(pod)
    assert violations(pod) == [why]


def test_its_root_is_read_only_and_every_place_that_it_writes_to_is_bounded() -> None:
    pod = template()["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", variable("AGENTPOOL_STATE_DIR")}
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"])
    assert container["resources"]["limits"].keys() >= {"memory", "ephemeral-storage"}


def variable(name: str) -> str:
    found: dict[str, str] = {each["name"]: each.get("value", "") for each in template()["spec"]["containers"][0]["env"]}
    return found[name]


def test_only_the_pod_that_needs_a_token_of_the_api_server_has_one() -> None:
    account, pod = document("ServiceAccount"), template()["spec"]
    assert account["automountServiceAccountToken"] is False
    assert (pod["automountServiceAccountToken"], pod["serviceAccountName"]) == (True, account["metadata"]["name"])


def test_the_image_runs_as_the_user_of_the_manifest() -> None:
    lines = (MANIFESTS / "operator" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    context = template()["spec"]["securityContext"]
    assert [line for line in lines if line.startswith("USER")] == [
        f"USER {context['runAsUser']}:{context['runAsGroup']}"
    ]
    assert lines.index(f"USER {context['runAsUser']}:{context['runAsGroup']}") > max(
        number for number, line in enumerate(lines) if line.startswith(("COPY", "RUN"))
    )


def test_the_network_lets_in_who_may_ask_and_out_to_its_peers_only() -> None:
    policy = document("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= template()["metadata"]["labels"].items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    (ingress,) = policy["ingress"]
    assert [rule.keys() for rule in ingress["from"]] == [{"namespaceSelector"}]
    (opened,) = ingress["ports"]
    (port,) = template()["spec"]["containers"][0]["ports"]
    assert opened == {"protocol": "TCP", "port": port["name"]}
    assert port["containerPort"] == Settings().http_port
    assert all(rule.get("to") and rule.get("ports") for rule in policy["egress"])
    blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert [block["cidr"] for block in blocks] == ["0.0.0.0/0", "::/0"]
    assert "169.254.0.0/16" in blocks[0]["except"]
