"""A pool on a Railway that loses answers, fails after success and throttles, while the operator is killed.

``make storm`` runs it with fifty instances and measures what is asked at rest; a small one is part of every run.
``AGENTPOOL_STORM_INSTANCES`` says how many, ``AGENTPOOL_STORM_SEED`` what happens.
"""

import logging
import os
import random
import time
from collections import Counter

import pytest

from tests.e2e.api import Object, condition
from tests.e2e.system import uid_of
from tests.e2e_docker.chaos import at_last
from tests.e2e_railway.conftest import Launch
from tests.e2e_railway.stage import CREATING, RailwaySystem
from tests.railway import Fault

log = logging.getLogger(__name__)

INSTANCES = int(os.environ.get("AGENTPOOL_STORM_INSTANCES") or 0)
SEED = int(os.environ.get("AGENTPOOL_STORM_SEED") or 20261127)
SLOW_SECONDS = 30.0
"""Between two looks at an environment at rest, with the plan Pro."""
STORM = {
    Fault.LOST_ANSWER: 0.10,
    Fault.ERROR_AFTER: 0.05,
    Fault.THROTTLE: 0.05,
    Fault.INVISIBLE: 0.20,
    Fault.STALE: 0.20,
    Fault.TOO_MANY: 0.02,
}

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.mark.timeout(900)
def test_a_small_pool_converges_amid_faults_and_kills(launch: Launch) -> None:
    weather(launch, instances=6, kills=2, claims=3)


@pytest.mark.timeout(3000)
@pytest.mark.skipif(not INSTANCES, reason="a storm takes minutes and the machine to itself: make storm")
def test_a_large_pool_converges_amid_faults_and_kills_and_asks_little_at_rest(launch: Launch) -> None:
    system = weather(launch, instances=INSTANCES, kills=6, claims=10, keep=True)
    before, intervals = system.twin.counts()["total"], 4
    time.sleep(intervals * SLOW_SECONDS)
    asked = system.twin.counts()["total"] - before
    log.info("%d requests in %d intervals at rest, with %d services", asked, intervals, len(system.services()))
    assert asked <= 2 * intervals
    clear(system)


def weather(launch: Launch, *, instances: int, kills: int, claims: int, keep: bool = False) -> RailwaySystem:
    dice = random.Random(SEED)
    system = launch(seed=SEED, plan="Pro", faults={str(fault): rate for fault, rate in STORM.items()})
    began = time.monotonic()
    system.pool(
        "p",
        minIdle=instances,
        maxTotal=instances + 2 * claims,
        template={"image": "registry.example/agents/agent:1", "network": "dev"},
        health={"intervalSeconds": 30, "timeoutSeconds": 10},
        startup={"probeIntervalMilliseconds": 1000, "deadlineSeconds": 300},
    )
    for _ in range(kills):
        time.sleep(dice.uniform(2.0, 10.0))
        system.command.kill()
        time.sleep(dice.uniform(0.0, 1.0))
        system.command.start()
        system.command.wait_ready()
        check(system)
    at_last(lambda: len(system.idle("p")) == instances, lambda: system.describe("p"))
    log.info("%d warm after %.0f s", instances, time.monotonic() - began)
    for number in range(claims):
        system.claim(f"c{number}", "p", agentName=f"Agent {number}")
    at_last(lambda: len(bound(system)) == claims, lambda: system.describe("p"))
    at_last(lambda: len(system.idle("p")) == instances, lambda: system.describe("p"))
    log.info("faults that struck: %s", system.twin.faults()["counts"])
    system.twin.set_faults({}, clear=True)
    at_last(lambda: is_settled(system), lambda: unrest(system))
    check(system)
    conversations = [claim["status"]["conversationId"] for claim in bound(system)]
    assert len(set(conversations)) == claims
    counts = system.twin.counts()
    log.info("requests: %s", counts["requests"])
    log.info("at most %d requests in a second", counts["peak"])
    if not keep:
        clear(system)
    return system


def clear(system: RailwaySystem) -> None:
    """Everything goes."""
    system.remove("c", "p")
    at_last(lambda: not system.api.all("agentinstances"), lambda: system.describe("p"))
    at_last(lambda: not system.services(), system.services)
    check(system)


def bound(system: RailwaySystem) -> list[Object]:
    return [each for each in system.api.all("agentclaims") if each.get("status", {}).get("phase") == "Bound"]


def unrest(system: RailwaySystem) -> list[str]:
    """What still has to settle, each in a sentence."""
    instances = {uid_of(each) for each in system.api.all("agentinstances")}
    labels = Counter(each["label"] for each in system.services().values())
    found = [f"service of {label} has no instance" for label in labels if label not in instances]
    found += [f"instance {uid} has {labels[uid]} services" for uid in instances if labels[uid] != 1]
    ready = condition(system.get_pool("p"), "BackendAvailable")
    return found if ready.get("status") == "True" else [*found, str(ready)]


def is_settled(system: RailwaySystem) -> bool:
    return not unrest(system)


def check(system: RailwaySystem) -> None:
    """What must hold at any moment."""
    state = system.twin.state()
    counts = state["counts"]
    assert counts["doubles"] == {}
    assert state["incompleteBoots"] == {}
    assert counts["violations"] == {}
    assert counts["concurrentCommits"] == 0
    assert counts["unidentified"] == 0
    for service, mutations in counts["mutations"].items():
        assert sum(mutations.get(each, 0) for each in CREATING) <= 4, (service, mutations)
    assert all(number == 1 for number in counts["deployments"].values()), counts["deployments"]
