"""Idle containers that wait frozen: they wake for health checks, for claims, and never while somebody has them."""

import pytest

from tests.e2e.api import Object
from tests.e2e.system import uid_of
from tests.e2e.waiting import eventually
from tests.e2e_docker.conftest import Launch
from tests.e2e_docker.stage import DockerSystem

pytestmark = pytest.mark.cluster


def frozen(system: DockerSystem, pool: str, count: int = 1) -> list[Object]:
    """The idle instances once there are so many and all are paused."""

    def check() -> list[Object]:
        idle = system.warm(pool, count)
        return idle if all(system.status(instance) == "paused" for instance in idle) else []

    return eventually(check, lambda: system.describe(pool))


def serves(system: DockerSystem, claim: str) -> Object:
    """The instance of a bound claim, whose agent answers with the claim's conversation."""
    status = system.bound(claim)["status"]
    instance = system.api.get("agentinstances", status["instance"])
    conversation = system.ask(instance, "GET", "/convos/status").json()["conversation"]
    assert conversation == {"id": status["conversationId"], "inviteUrl": status["inviteUrl"]}
    return instance


def test_idle_containers_are_paused_and_a_claimed_one_runs_and_goes_on_running(system: DockerSystem, name: str) -> None:
    pool = system.pool(name, minIdle=2, warmStrategy="Paused")
    sleepers = frozen(system, pool, 2)
    instance = serves(system, system.claim(f"{name}-c", pool))
    assert uid_of(instance) in {uid_of(each) for each in sleepers}
    (other,) = [each for each in sleepers if uid_of(each) != uid_of(instance)]
    ours, theirs = system.follow(instance), system.follow(other)
    # Health checks wake the idle one, and freeze it again; the claimed one is checked as often.
    eventually(lambda: theirs.count("unpause") >= 3 and theirs.count("pause") >= 3)
    assert ours.count("pause") == 0
    assert system.status(instance) == "running"
    frozen(system, pool, 2)
    assert system.get_pool(pool)["status"]["crashed"] == 0


def test_a_frozen_container_that_is_killed_or_removed_is_replaced(system: DockerSystem, name: str) -> None:
    pool = system.pool(name, minIdle=2, warmStrategy="Paused")
    killed, removed = frozen(system, pool, 2)
    system.on_container(killed, "kill", signal="SIGKILL")
    system.remove_container(removed)
    system.nothing_left(uid_of(killed), uid_of(removed))
    replaced = {uid_of(each) for each in frozen(system, pool, 2)}
    assert replaced.isdisjoint({uid_of(killed), uid_of(removed)})


def test_the_strategy_can_be_changed_while_instances_are_idle(system: DockerSystem, name: str) -> None:
    pool = system.pool(name)
    (instance,) = system.warm(pool)
    assert system.status(instance) == "running"
    system.change(pool, warmStrategy="Paused")
    system.becomes(instance, "paused")
    system.change(pool, warmStrategy="Running")
    system.becomes(instance, "running")
    # It is no other one, and it stays awake.
    happenings = system.follow(instance)
    serves(system, system.claim(f"{name}-c", pool))
    assert happenings.count("pause") == 0
    assert system.instance_of(f"{name}-c")["metadata"]["uid"] == uid_of(instance)


def test_a_burst_of_claims_wakes_as_many_as_are_asked_for(system: DockerSystem, name: str) -> None:
    pool = system.pool(name, minIdle=3, maxTotal=8, warmStrategy="Paused")
    sleepers = {uid_of(each) for each in frozen(system, pool, 3)}
    claims = [system.claim(f"{name}-{number}", pool) for number in range(4)]
    instances = [serves(system, claim) for claim in claims]
    assert len({uid_of(instance) for instance in instances}) == 4
    assert sleepers < {uid_of(instance) for instance in instances}
    conversations = {system.get_claim(claim)["status"]["conversationId"] for claim in claims}
    assert len(conversations) == 4
    frozen(system, pool, 3)
    assert {system.status(instance) for instance in instances} == {"running"}


def test_a_restarted_operator_finds_the_frozen_ones_frozen_and_hands_them_out(
    launch: Launch, docker_host: str, agent_image: str
) -> None:
    system = launch(docker_host, agent_image)
    # No health check comes by: only the restart could wake or end them.
    system.pool("p", minIdle=2, warmStrategy="Paused", health={"intervalSeconds": 3600})
    before = frozen(system, "p", 2)
    ids = [system.id_of(instance) for instance in before]
    happenings = {uid_of(instance): system.follow(instance) for instance in before}
    system.command.kill()
    assert [system.status(instance) for instance in before] == ["paused", "paused"]
    system.command.start()
    system.command.wait_ready()
    instance = serves(system, system.claim("c", "p"))
    assert uid_of(instance) in {uid_of(each) for each in before}
    after = frozen(system, "p", 2)
    (left,) = [each for each in before if uid_of(each) != uid_of(instance)]
    assert uid_of(left) in {uid_of(each) for each in after}
    assert [system.id_of(each) for each in before] == ids
    assert happenings[uid_of(left)].count("unpause") == 0
    assert system.get_pool("p")["status"]["crashed"] == 0
