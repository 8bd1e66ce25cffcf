"""Images, commands and containers in trouble: the reason is told, nothing is tried for ever, what can heal heals."""

import pytest

from tests.e2e.api import Object, condition
from tests.e2e.system import name_of, uid_of
from tests.e2e.waiting import eventually
from tests.e2e_docker.stage import POOL, DockerSystem

pytestmark = pytest.mark.cluster

NEVER = {"docker": {"pullPolicy": "Never"}}


def quiet_beginning(system: DockerSystem) -> tuple[str, float]:
    """Where history and count begin, once what earlier tests have made is gone."""
    eventually(lambda: system.api.all("agentinstances") == [], lambda: system.api.all("agentinstances"))
    return system.api.version("agentinstances"), launches(system)


def launches(system: DockerSystem) -> float:
    """How often the operator has asked a backend to launch."""
    lines = system.command.metrics().splitlines()
    name = 'agentpool_actions_total{action="Launch",outcome="done"}'
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("template", "backend", "reason", "remedies"),
    [
        pytest.param(
            {"image": "agentpool-test/nowhere:1"},
            NEVER,
            "ImageNeverPulled",
            ("agentpool-test/nowhere:1", "pullPolicy"),
            id="an image that the engine lacks and may not fetch",
        ),
        pytest.param(
            {"image": "127.0.0.1:1/acme/agent:1"},
            {"docker": {}},
            "RegistryUnreachable",
            ("127.0.0.1:1/acme/agent:1", "registry"),
            id="an image of a registry that does not answer",
        ),
        pytest.param(
            {"command": ["no-such-program"]},
            {"docker": {"init": False}},
            "InvalidContainer",
            ("no-such-program", "template.command"),
            id="a command that is not in the image",
        ),
        pytest.param(
            {"command": ["no-such-program"]},
            {"docker": {}},
            "Exited",
            ("no-such-program", "exited with code 127"),
            id="a command that is not in the image and that only init misses",
        ),
        pytest.param(
            {"command": ["sh", "-c", "echo no luck; exit 3"]},
            {"docker": {}},
            "Exited",
            ("exited with code 3", "no luck"),
            id="a command that ends at once",
        ),
    ],
)
def test_what_cannot_work_is_launched_as_often_as_the_circuit_breaker_allows_and_recovers_once_it_is_mended(
    system: DockerSystem, name: str, template: Object, backend: Object, reason: str, remedies: tuple[str, ...]
) -> None:
    before, asked = quiet_beginning(system)
    breaker = {"failures": 2, "openSeconds": 3600}
    system.pool(name, template=template, backend=backend, circuitBreaker=breaker)
    told = system.pool_says(name, "Degraded", "True/CircuitOpen")
    assert all(remedy in told for remedy in remedies), told
    assert system.pool_says(name, "BackendAvailable", "True/Available") == ""
    eventually(lambda: system.instances(name) == [], lambda: system.describe(name))
    # A claim is a reason to launch, and so would have been a way around the breaker.
    waiting = system.claim_says(system.claim(f"{name}-c", name), "False/Queued")
    assert condition(waiting, "Ready")["message"]
    events = [obj for _, obj in system.api.history("agentinstances", before) if obj["spec"]["pool"] == name]
    crashed = [obj for obj in events if obj.get("status", {}).get("phase") == "Crashed"]
    assert len({uid_of(obj) for obj in events}) == 2
    assert {condition(obj, "Ready")["reason"] for obj in crashed} == {reason}
    assert launches(system) - asked == 2
    assert system.containers(f"{POOL}={name}") == []

    # A merge patch: null takes a field out.
    system.change(
        name, template={"image": system.image, "command": None}, backend={"docker": {"pullPolicy": None, "init": None}}
    )
    system.bound(f"{name}-c")
    system.warm(name)


def test_after_each_pause_one_launch_is_tried(system: DockerSystem, name: str) -> None:
    before, asked = quiet_beginning(system)
    system.pool(
        name,
        minIdle=2,
        template={"image": "127.0.0.1:1/acme/agent:1"},
        circuitBreaker={"failures": 1, "openSeconds": 1},
    )

    def failures() -> int:
        return int(system.get_pool(name).get("status", {}).get("circuitBreaker", {}).get("failures", 0))

    eventually(lambda: failures() >= 4, lambda: system.describe(name))
    # Two at once before the first has failed, then one at a time; failures are counted last, so as not to lag.
    made, tries = system.launches(name, before), launches(system) - asked
    assert len(made) <= failures() + 1
    assert tries <= failures() + 1


def test_an_instance_that_exceeds_its_memory_says_so(system: DockerSystem, name: str, stub_image: str) -> None:
    system.pool(
        name,
        template={
            "image": stub_image,
            "resources": {"memory": "48Mi"},
            "env": [{"name": "BEHAVIOUR", "value": "greedy"}],
        },
        circuitBreaker={"failures": 1, "openSeconds": 3600},
    )
    told = system.pool_says(name, "Degraded", "True/CircuitOpen")
    assert "exceeded its memory limit of 48Mi and was killed" in told


def claimed(system: DockerSystem, pool: str) -> tuple[str, Object]:
    """A claim that is bound, and its instance, which says so too."""
    claim = system.claim(f"{pool}-c", pool)
    system.bound(claim)
    instance = eventually(lambda: next(iter(system.instances(pool, "Claimed")), None), lambda: system.describe(pool))
    assert instance is not None
    return claim, instance


def conversation(system: DockerSystem, instance: str) -> Object:
    """What the agent of an instance says it is in, asked at the address that the instance shows."""
    shown = system.api.get("agentinstances", instance)
    found: Object = system.ask(shown, "GET", "/convos/status").json()["conversation"]
    return found


@pytest.mark.parametrize("verb", ["restart", "kill"])
def test_a_claimed_container_that_ends_and_starts_again_is_found_at_its_new_address(
    system: DockerSystem, name: str, verb: str
) -> None:
    system.pool(name)
    claim, instance = claimed(system, name)
    before, started = conversation(system, name_of(instance)), system.inspect(instance)["State"]["StartedAt"]
    if verb == "kill":
        system.on_container(instance, "kill", signal="SIGKILL")
        troubled = system.claim_says(claim, "False/InstanceCrashed")
        assert troubled["status"]["phase"] == "Bound"
        assert "SIGKILL" in condition(troubled, "Ready")["message"]
        assert "delete the claim" in condition(troubled, "Ready")["message"]
        system.on_container(instance, "start")
    else:
        system.on_container(instance, "restart", t="5")
    shown = system.inspect(instance)
    assert shown["State"]["StartedAt"] != started
    port = shown["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]

    def follows() -> bool:
        return str(system.api.get("agentinstances", name_of(instance))["status"]["url"]).endswith(f":{port}")

    eventually(follows, lambda: (port, system.describe(name)))
    system.claim_says(claim, "True/Bound")
    system.instance_says(name_of(instance), "True/Claimed")
    assert conversation(system, name_of(instance)) == before
    assert system.get_claim(claim)["status"]["instance"] == name_of(instance)


@pytest.mark.parametrize("verb", ["stop", "kill", "remove"])
def test_an_idle_container_that_ends_is_replaced_and_nothing_is_left_of_it(
    system: DockerSystem, name: str, verb: str
) -> None:
    system.pool(name, template={"volume": {}})
    (instance,) = system.warm(name)
    if verb == "remove":
        system.remove_container(instance)
    else:
        system.on_container(instance, verb)
    system.nothing_left(uid_of(instance))
    (other,) = system.warm(name)
    assert uid_of(other) != uid_of(instance)


def test_a_claimed_container_that_is_removed_leaves_its_claim_with_the_reason_until_it_is_given_back(
    system: DockerSystem, name: str
) -> None:
    system.pool(name, template={"volume": {}})
    claim, instance = claimed(system, name)
    system.remove_container(instance)
    troubled = system.claim_says(claim, "False/InstanceCrashed")
    assert troubled["status"]["phase"] == "Bound"
    assert "delete the claim to give it back" in condition(troubled, "Ready")["message"]
    system.api.kubectl("delete", "agentclaim", claim, "--timeout=60s")
    system.gone("agentinstances", name_of(instance))
    assert system.left_of(uid_of(instance)) == []
    system.warm(name)


@pytest.mark.parametrize("is_claimed", [True, False], ids=["claimed", "idle"])
def test_a_container_that_a_person_pauses_is_let_go_on(system: DockerSystem, name: str, is_claimed: bool) -> None:
    system.pool(name)
    instance = claimed(system, name)[1] if is_claimed else system.warm(name)[0]
    container = system.id_of(instance)
    system.on_container(instance, "pause")
    system.becomes(instance, "running")
    system.instance_says(name_of(instance), "True/Claimed" if is_claimed else "True/Ready")
    assert system.id_of(instance) == container
