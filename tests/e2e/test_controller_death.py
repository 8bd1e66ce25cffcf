"""kill -9 and SIGTERM of the operator; on the standalone server both end the API server too."""

import contextlib
import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import httpx
import pytest

from tests.e2e import host
from tests.e2e.conftest import Launch
from tests.e2e.system import System, uid_of
from tests.e2e.waiting import eventually
from tests.thorough import times

pytestmark = pytest.mark.cluster

WRITES = ('verb="create"', 'verb="patch"', 'verb="delete"')
KILLS = times(6, 12)
T = TypeVar("T")


def written(system: System) -> list[str]:
    lines = system.command.metrics().splitlines()
    return [
        line for line in lines if line.startswith("agentpool_api_requests_total") and any(w in line for w in WRITES)
    ]


def passes(system: System, kind: str) -> float:
    lines = system.command.metrics().splitlines()
    (line,) = [line for line in lines if line.startswith(f'agentpool_passes_total{{kind="{kind}",outcome="done"}}')]
    return float(line.rsplit(" ", 1)[1])


def at_rest_with_a_claim(system: System) -> None:
    system.pool("p", minIdle=2, health={"intervalSeconds": 600})
    system.claim("c", "p", instructions="Remember.")
    system.bound("c")
    system.warm("p", 2)
    system.pool_says("p", "Progressing", "False/AtRest")
    eventually(lambda: len(system.instances("p", "Claimed")) == 1)
    # Its Event and the Secret with its token are written off the path, and the pool's counts once a second.
    assert system.token(system.instance_of("c"))
    eventually(lambda: system.api.events("c"))
    eventually(lambda: system.get_pool("p")["status"]["claimed"] == 1)


def test_killed_at_rest_it_finds_the_same_processes_again_and_writes_nothing(launch: Launch) -> None:
    system = launch()
    at_rest_with_a_claim(system)
    before, versions = host.mains(system.instances_root), system.api.resource_versions()
    assert len(before) == 3
    system.command.kill()
    assert host.mains(system.instances_root) == before
    system.command.start()
    system.command.wait_ready()
    eventually(lambda: passes(system, "instance") >= 3 and passes(system, "claim") >= 1 and passes(system, "pool") >= 1)
    assert written(system) == []
    assert system.api.resource_versions() == versions
    assert host.mains(system.instances_root) == before
    # It has not only left them alone, it works with them.
    system.api.kubectl("delete", "aclaim", "c")
    eventually(lambda: len(host.mains(system.instances_root)) == 2, lambda: system.describe("p"))


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_on_sigterm_it_stops_at_once_and_leaves_the_instances_running(launch: Launch, times: int) -> None:
    system = launch("--log-format", "json")
    at_rest_with_a_claim(system)
    before = host.mains(system.instances_root)
    process = system.command.process
    assert process is not None
    for _ in range(times):
        process.terminate()
    # Less than any grace period of a service manager, and not a figure to be measured.
    assert process.wait(20) == 0
    assert host.mains(system.instances_root) == before
    for line in system.command.output.splitlines():
        if line.startswith(("API server:", "export KUBECONFIG=")):
            continue
        record = json.loads(line)
        assert {"event", "level", "timestamp", "logger"} <= record.keys(), line
    system.command.start()
    system.command.wait_ready()
    assert host.mains(system.instances_root) == before


def patiently(attempt: Callable[[], T]) -> T:
    """Tries again while the API server is away."""
    done: list[T] = []

    def check() -> bool:
        with contextlib.suppress(httpx.TransportError):
            done.append(attempt())
        return bool(done)

    eventually(check)
    return done[0]


def claim_once(system: System, name: str) -> None:
    """A server that was killed may have stored it and not said so: then there is one already."""
    spec = {"pool": "p", "agentName": name}
    body = {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentClaim", "metadata": {"name": name}, "spec": spec}
    answer = system.api.http.post(system.api.path("agentclaims"), json=body)
    assert answer.status_code in {201, 409}, answer.text


@pytest.mark.slow
@pytest.mark.timeout(600)  # it starts the whole program up to thirteen times
def test_killed_at_any_moment_it_loses_no_claim_leaks_no_process_and_binds_nothing_twice(launch: Launch) -> None:
    dice = random.Random(20261121)
    system = launch()
    system.pool("p", minIdle=2, maxTotal=8)
    kept: list[str] = []
    for number in range(KILLS):
        name = f"c{number}"
        kept.append(name)
        patiently(partial(claim_once, system, name))
        if len(kept) > 3:
            left = kept.pop(dice.randrange(len(kept)))
            patiently(partial(system.api.delete, "agentclaims", left))
        time.sleep(dice.uniform(0, 1.2))
        system.command.kill()
        system.command.start()
        if dice.random() < 0.7:
            system.command.wait_ready()
    system.command.wait_ready()

    claims = {name: system.bound(name) for name in kept}
    system.warm("p", 2)
    eventually(lambda: len(system.instances("p")) == len(kept) + 2, lambda: system.describe("p"))
    assert {claim["metadata"]["name"] for claim in system.api.all("agentclaims")} == set(kept)
    instances = {uid_of(instance): instance for instance in system.instances("p")}

    def one_each() -> bool:
        families = host.mains(system.instances_root)
        return families.keys() == instances.keys() and all(len(pids) == 1 for pids in families.values())

    eventually(one_each, lambda: (host.mains(system.instances_root), instances.keys()))
    homes = {home.name for home in system.instances_root.iterdir() if not home.name.startswith(".")}
    assert homes == instances.keys()
    holders = [instance["spec"]["claimRef"]["uid"] for instance in instances.values() if "claimRef" in instance["spec"]]
    assert sorted(holders) == sorted(uid_of(claim) for claim in claims.values())
    for claim in claims.values():
        instance = system.api.get("agentinstances", claim["status"]["instance"])
        assert instance["spec"]["claimRef"]["uid"] == uid_of(claim)
        conversation = system.ask(instance, "GET", "/convos/status").json()["conversation"]
        assert conversation == {"id": claim["status"]["conversationId"], "inviteUrl": claim["status"]["inviteUrl"]}
        log = (system.home(instance) / "log").read_text()
        assert log.count("created a conversation") == 1, log
    for instance in system.idle("p"):
        assert system.ask(instance, "GET", "/pool/health").json()["clean"] is True
    conversations = [claim["status"]["conversationId"] for claim in claims.values()]
    assert len(set(conversations)) == len(conversations)
