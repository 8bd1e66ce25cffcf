"""Whatever is killed and however often: no claim is lost, nothing leaks, nothing runs twice, and calm returns.

``make chaos`` runs it. ``AGENTPOOL_CHAOS_SECONDS`` says for how long, ``AGENTPOOL_CHAOS_SEED`` what happens.
"""

import logging
import os
import random
from collections import Counter

import httpx
import pytest

from tests.e2e.api import Object, condition, reason
from tests.e2e.system import uid_of
from tests.e2e_docker.chaos import Chaos, at_last
from tests.e2e_docker.conftest import Launch, MakeEngine, image_on
from tests.e2e_docker.stage import UID, DockerSystem
from tests.e2e_docker.witness import Witness, runs

log = logging.getLogger(__name__)

SECONDS = float(os.environ.get("AGENTPOOL_CHAOS_SECONDS") or 0)
SEED = int(os.environ.get("AGENTPOOL_CHAOS_SEED") or 20261121)
IDLE = 20
ENDED = {"Failed", "Evicted"}


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif(not SECONDS, reason="chaos takes minutes and the machine to itself: make chaos")
@pytest.mark.timeout(SECONDS + 1500)
@pytest.mark.parametrize(
    ("live_restore", "strategy"),
    [
        pytest.param(False, "Running", id="an engine that ends its containers when it starts again"),
        pytest.param(True, "Paused", id="an engine that finds them again, and idle ones that are frozen"),
    ],
)
def test_operator_engine_and_containers_are_killed_for_a_while_and_then_all_is_well_again(
    launch: Launch, make_engine: MakeEngine, live_restore: bool, strategy: str
) -> None:
    engine = make_engine(live_restore=live_restore)
    engine.start()
    system = launch(engine.host, image_on(engine))
    system.pool(
        "p",
        minIdle=IDLE,
        maxTotal=2 * IDLE,
        warmStrategy=strategy,
        template={"volume": {}},
        health={"intervalSeconds": 5},
        circuitBreaker={"openSeconds": 2},
    )
    at_last(lambda: is_warm(system), lambda: system.describe("p"))
    log.info("seed %d, %g s", SEED, SECONDS)
    chaos = Chaos(system, engine, "p", random.Random(SEED))
    with Witness(engine.folder, system.installation, system.api.kubeconfig, system.api.namespace) as witness:
        chaos.run(SECONDS)
        log.info("what happened: %s", dict(chaos.counts))
        system.command.wait_ready()
        at_last(lambda: is_at_rest(system, chaos), lambda: (unrest(system), system.describe("p")))
    log.info("containers that the engine started twice: %s", witness.strays)
    log.info("%d looks, at most %d containers at once", witness.looks, witness.most_running)
    assert witness.looks > 0
    assert witness.most_running >= IDLE
    assert witness.violations == set()
    log.info("how claims ended: %s", check_claims(system, chaos.claims))
    check_idle(system)
    lost = runs(engine.folder) - Counter(running(system))
    assert Counter(running(system)) - runs(engine.folder) == Counter()
    # An engine that is killed in the middle of a container's start (seen of Docker 20.10) never learns that it runs: it
    # calls it created, cannot start it ("id already in use"), and removes it without its process.
    log.info("processes that the engine has lost: %d", lost.total())
    assert "agentpool_view_repairs_total{" not in system.command.metrics()

    system.remove("c", "p")
    at_last(lambda: not system.api.all("agentinstances"), lambda: system.describe("p"))
    assert system.containers() == []
    assert system.volumes() == []
    assert runs(engine.folder) == lost


def is_warm(system: DockerSystem) -> bool:
    told: int = system.get_pool("p").get("status", {}).get("idle", 0)
    return len(system.idle("p")) == IDLE == told


def running(system: DockerSystem) -> list[str]:
    """The uids of the containers that have processes."""
    return [each["Labels"][UID] for each in system.containers() if each["State"] in {"running", "paused"}]


def unrest(system: DockerSystem) -> list[str]:
    """What still has to settle, each in a sentence."""
    instances = {uid_of(each): each for each in system.api.all("agentinstances")}
    found = [] if is_warm(system) else [f"{len(system.idle('p'))} are idle"]
    if reason(system.get_pool("p"), "BackendAvailable") != "True/Available":
        found.append("the backend is not available")
    found += [f"instance {each['metadata']['name']} is {phase_of(each)}" for each in instances.values() if moves(each)]
    crashed = {each["metadata"]["name"] for each in instances.values() if phase_of(each) == "Crashed"}
    for claim in system.api.all("agentclaims"):
        phase, name = claim.get("status", {}).get("phase"), claim["metadata"]["name"]
        if phase not in {"Bound", *ENDED}:
            found.append(f"claim {name} is {phase}")
        elif phase == "Bound" and (claim["status"]["instance"] in crashed) != (reason(claim, "Ready")[:4] != "True"):
            found.append(f"claim {name} does not say how its agent is")
    seen = [each["Labels"][UID] for each in (*system.containers(), *system.volumes())]
    found += [f"something of {uid} is left" for uid in seen if uid not in instances]
    # An engine that was killed may leave a container that runs and that nobody reaches: checks will find it.
    return found or [
        f"instance {each['metadata']['name']} is not well" for each in instances.values() if ails(system, each)
    ]


def phase_of(instance: Object) -> str | None:
    phase: str | None = instance.get("status", {}).get("phase")
    return phase


def moves(instance: Object) -> bool:
    """Whether it is about to become something else; one that crashed in somebody's hands stays what it is."""
    return phase_of(instance) not in ({"Claimed", "Crashed"} if "claimRef" in instance["spec"] else {"Idle"})


def ails(system: DockerSystem, instance: Object) -> bool:
    """Whether an idle or claimed one does not answer as it should; one that is frozen need not."""
    if phase_of(instance) == "Crashed" or system.status(instance) == "paused":
        return False
    try:
        health = system.ask(instance, "GET", "/pool/health").json()
    except httpx.TransportError:
        return True
    return bool(health.get("clean")) != (phase_of(instance) == "Idle")


def is_at_rest(system: DockerSystem, chaos: Chaos) -> bool:
    chaos.end_what_the_engine_lost()
    return not unrest(system)


def check_claims(system: DockerSystem, names: list[str]) -> Counter[str]:
    """Nobody's claim is lost, and each is what it says."""
    claims: dict[str, Object] = {each["metadata"]["name"]: each for each in system.api.all("agentclaims")}
    assert claims.keys() == set(names)
    held = [each["spec"]["claimRef"]["uid"] for each in system.api.all("agentinstances") if "claimRef" in each["spec"]]
    assert len(held) == len(set(held))
    ended: Counter[str] = Counter()
    for claim in claims.values():
        status, ready = claim["status"], condition(claim, "Ready")
        ended[f"{status['phase']}/{ready['status']}/{ready['reason']}"] += 1
        if status["phase"] in ENDED:
            assert status["message"], claim
            assert uid_of(claim) not in held
            continue
        instance = system.api.get("agentinstances", status["instance"])
        assert instance["spec"]["claimRef"]["uid"] == uid_of(claim)
        if ready["status"] == "False":
            assert instance["status"]["phase"] == "Crashed"
            assert "delete the claim to give it back" in status["message"], claim
            continue
        assert instance["status"]["phase"] == "Claimed"
        conversation = system.ask(instance, "GET", "/convos/status").json()["conversation"]
        assert conversation == {"id": status["conversationId"], "inviteUrl": status["inviteUrl"]}
        assert system.log_of(instance).count("created a conversation") == 1, system.log_of(instance)
    conversations = [claim["status"].get("conversationId") for claim in claims.values()]
    told = [each for each in conversations if each is not None]
    assert len(told) == len(set(told))
    return ended


def check_idle(system: DockerSystem) -> None:
    """Every idle one has a container of its own, and waits in the state in which it is to wait."""
    assert len({system.id_of(each) for each in system.idle("p")}) == IDLE
    state = system.get_pool("p")["spec"]["warmStrategy"].lower()
    waited: set[str] = set()

    def all_have_waited() -> bool:
        # A frozen one runs while it is checked, and one that turns out not to be well is replaced.
        idle = system.idle("p")
        waited.update(uid_of(each) for each in idle if system.status(each) == state)
        return len(idle) == IDLE and waited.issuperset(map(uid_of, idle))

    at_last(all_have_waited, lambda: system.describe("p"))
