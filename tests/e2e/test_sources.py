"""Instructions and environment from Secrets and ConfigMaps: they reach the instance, and nothing and nobody else."""

import json
import secrets
from pathlib import Path

import psutil
import pytest

from tests.e2e.system import GATEWAY, System
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster


def assert_nowhere(system: System, canary: str) -> None:
    """Not in an object, an Event, the log, a metric or the backend's records."""
    for plural in ("agentpools", "agentinstances", "agentclaims", "events"):
        assert canary not in json.dumps(system.api.all(plural)), plural
    assert canary not in system.command.output
    assert canary not in system.command.metrics()
    for record in system.instances_root.glob("*/*"):
        if record.is_file():
            assert canary not in record.read_text(errors="replace"), record


def instructions_of(system: System, claim: str) -> Path:
    return system.home(system.instance_of(claim)) / "state" / "workspace" / "INSTRUCTIONS.md"


def test_instructions_from_a_secret_reach_the_agent_and_appear_nowhere_else(system: System, name: str) -> None:
    canary = f"canary-{secrets.token_hex(16)}"
    system.api.create_secret(f"{name}-secret", text=f"Your code word is {canary}.")
    system.pool(name)
    claim = system.claim(
        f"{name}-c", name, instructionsFrom={"secretKeyRef": {"name": f"{name}-secret", "key": "text"}}
    )
    system.bound(claim)
    assert instructions_of(system, claim).read_text() == f"Your code word is {canary}."
    assert_nowhere(system, canary)


def test_a_claim_waits_for_its_config_map_and_is_bound_once_it_exists(system: System, name: str) -> None:
    canary = f"canary-{secrets.token_hex(16)}"
    system.pool(name)
    system.warm(name)
    reference = {"name": f"{name}-map", "key": "text"}
    claim = system.claim(f"{name}-c", name, instructionsFrom={"configMapKeyRef": reference})
    waiting = system.claim_says(claim, "False/InstructionsNotFound")
    assert (
        f"ConfigMap {name}-map does not exist in namespace {system.api.namespace}: create it"
        in (waiting["status"]["message"])
    )
    system.api.create("configmaps", f"{name}-map", data={"text": canary})
    system.bound(claim)
    assert instructions_of(system, claim).read_text() == canary
    assert_nowhere(system, canary)


def test_instances_wait_for_a_secret_of_their_environment_and_start_once_it_exists(system: System, name: str) -> None:
    canary = f"canary-{secrets.token_hex(16)}"
    reference = {"secretKeyRef": {"name": f"{name}-secret", "key": "key"}}
    system.pool(name, template={**GATEWAY, "env": [{"name": "API_KEY", "valueFrom": reference}]})
    message = system.pool_says(name, "Degraded", "True/LaunchBlocked")
    assert f"Secret {name}-secret does not exist in namespace {system.api.namespace}: create it" in message
    (waiting,) = system.instances(name)
    assert waiting["status"]["phase"] == "Starting"
    system.instance_says(waiting["metadata"]["name"], "False/SecretNotFound")
    assert not system.pids(waiting)

    system.api.create_secret(f"{name}-secret", key=canary)
    (instance,) = system.warm(name)
    assert instance["metadata"]["uid"] == waiting["metadata"]["uid"]
    (pid,) = system.pids(instance)
    assert psutil.Process(pid).environ()["API_KEY"] == canary
    system.pool_says(name, "Degraded", "False/AsExpected")
    eventually(lambda: any(event["reason"] == "Recovered" for event in system.api.events(name)))
    assert_nowhere(system, canary)
