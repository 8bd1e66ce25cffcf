"""Who is let in, and who may read what is on the disk."""

import stat
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.api import Object, condition
from tests.e2e.conftest import Launch
from tests.e2e.system import System, uid_of

pytestmark = pytest.mark.cluster

PROVISION = {"agentName": "Thief", "instructions": "Obey."}


@pytest.mark.parametrize("token", [None, "wrong", "é"], ids=["without", "wrong", "not ASCII"])
@pytest.mark.parametrize(
    "path", ["/api/v1/secrets", "/apis/agentpool.dev/v1alpha1/agentpools", "/version", "/openapi/v3"]
)
def test_nobody_reaches_the_standalone_server_without_its_token(system: System, path: str, token: str | None) -> None:
    if system.kind != "standalone":
        pytest.skip("standalone only: a genuine server has its own rules")
    headers = {} if token is None else {b"Authorization": f"Bearer {token}".encode()}
    with httpx.Client(base_url=system.api.url, verify=system.api.tls, trust_env=False) as http:
        assert http.get(path, headers=headers).status_code == 401


def test_an_instance_is_provisioned_with_its_own_token_only(system: System, name: str) -> None:
    system.pool(name, minIdle=2)
    first, second = system.warm(name, 2)

    def provision(instance: Object, authorization: str | None) -> int:
        headers = {} if authorization is None else {"Authorization": authorization}
        url = instance["status"]["url"] + "/pool/provision"
        return httpx.post(url, json=PROVISION, headers=headers, trust_env=False, timeout=30).status_code

    assert provision(first, None) == 401
    assert provision(first, "Bearer wrong") == 401
    assert provision(first, f"Bearer {system.token(second)}") == 401
    assert httpx.get(first["status"]["url"] + "/convos/status", trust_env=False, timeout=30).status_code == 401
    for instance in (first, second):
        assert system.ask(instance, "GET", "/pool/health").json()["clean"] is True


def test_at_its_claim_an_instance_gets_another_token_and_the_former_one_opens_nothing(
    system: System, name: str
) -> None:
    system.pool(name)
    [idle] = system.warm(name)
    secret = f"{idle['metadata']['name']}-token"
    before = system.api.secret(secret, system.api.namespace)
    assert system.ask(idle, "GET", "/convos/status", token=before["token"]).status_code == 200
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    instance = system.instance_of(claim)
    assert system.token(instance) == before["next-token"]
    assert system.api.secret(secret, system.api.namespace) == {"token": before["next-token"]}
    assert system.ask(instance, "GET", "/convos/status").status_code == 200
    assert system.ask(instance, "GET", "/convos/status", token=before["token"]).status_code == 401
    assert system.ask(instance, "POST", "/pool/provision", token=before["token"], json=PROVISION).status_code == 401
    system.api.delete("agentclaims", claim)
    system.gone("agentinstances", instance["metadata"]["name"])
    if system.kind == "standalone":  # the genuine test server has no garbage collector
        system.gone("secrets", secret)


def test_nobody_gets_the_token_of_an_instance_by_naming_its_secret(system: System, name: str) -> None:
    system.pool(name)
    [idle] = system.warm(name)
    secret = {"name": f"{idle['metadata']['name']}-token", "key": "token"}
    claim = system.claim(f"{name}-c", name, instructionsFrom={"secretKeyRef": secret})
    refused = system.claim_says(claim, "False/InstructionsNotFound")
    assert "holds the token of an instance" in condition(refused, "Ready")["message"]


def test_no_secret_of_the_operator_and_no_shared_key_reaches_an_agent(launch: Launch) -> None:
    canary = "canary-0123456789abcdef"
    system = launch(AGENTPOOL_WEBHOOK_SECRET=canary, RAILWAY_TOKEN=canary, SOME_KEY=canary)
    system.pool("p", minIdle=2)
    instances = system.warm("p", 2)
    tokens = {uid_of(instance): system.token(instance) for instance in instances}
    assert len(set(tokens.values())) == 2
    for instance in instances:
        for pid in system.pids(instance):
            environment = psutil.Process(pid).environ()
            told = " ".join(environment.values())
            assert canary not in told
            assert str(system.api.kubeconfig) not in told
            others = [token for uid, token in tokens.items() if uid != uid_of(instance)]
            assert not any(token in told for token in others)
    former = f"/api/v1/namespaces/{system.operator_namespace}/secrets/agentpool-installation"
    assert system.api.http.get(former).status_code == 404


def test_only_the_operators_user_can_read_what_is_on_the_disk(system: System, name: str) -> None:
    system.pool(name)
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    assert mode(system.instances_root) == 0o700
    assert mode(system.home(system.instance_of(claim))) == 0o700
    for path in system.home(system.instance_of(claim)).rglob("*"):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    if system.kind == "standalone":
        assert mode(system.instances_root.parent) == 0o700
        secret = {"kubeconfig", "token", "ca.key", "server.key"}
        assert {mode(system.instances_root.parent / file) for file in secret} == {0o600}


def test_the_token_of_an_instance_is_in_no_object_and_no_log(system: System, name: str) -> None:
    system.pool(name)
    claim = system.claim(f"{name}-c", name)
    system.bound(claim)
    instance = system.instance_of(claim)
    token = system.token(instance)
    for plural in ("agentpools", "agentinstances", "agentclaims", "events"):
        assert token not in system.api.http.get(system.api.path(plural)).text
    assert token not in system.command.output
    assert token not in system.command.metrics()
    for file in (system.home(instance) / "log", system.home(instance) / "record.json"):
        assert token not in file.read_text()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
