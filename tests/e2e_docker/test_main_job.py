"""A pool of containers is warm, a claim is bound, the agent is given back; what is others' is left alone."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.docker.api import Engine, EngineError
from tests.e2e.api import MERGE, Object, condition
from tests.e2e.system import name_of, uid_of, unique
from tests.e2e.waiting import eventually
from tests.e2e_docker.conftest import Launch
from tests.e2e_docker.stage import INSTALLATION, POOL, UID, DockerSystem, listed, names_of

pytestmark = pytest.mark.cluster

Stranger = Callable[..., str]


@pytest.fixture
def stranger(docker_engine: Engine, stub_image: str) -> Iterator[Stranger]:
    """Runs containers that are not the operator's: ``stranger(name, **labels)`` answers the id."""
    made: list[str] = []

    def run(name: str, **labels: str) -> str:
        body = {"Image": stub_image, "Labels": labels}
        made.append(str(docker_engine.post("/containers/create", body, name=name)["Id"]))
        docker_engine.post(f"/containers/{made[-1]}/start")
        return made[-1]

    yield run
    for container in made:
        # It may be one that was to be removed.
        with suppress(EngineError):
            docker_engine.delete(f"/containers/{container}", force="1", v="1")


def state_of(engine: Engine, container: str) -> tuple[str, str]:
    """Name and status of any container."""
    shown = engine.get(f"/containers/{container}/json")
    return str(shown["Name"]).removeprefix("/"), str(shown["State"]["Status"])


def test_a_claim_on_a_warm_pool_gets_a_container_that_bears_its_name_and_giving_it_back_destroys_it(
    system: DockerSystem, name: str
) -> None:
    pool = system.pool(name, template={"volume": {}})
    system.api.kubectl("wait", "--for=condition=Ready", f"agentpool/{pool}", "--timeout=60s")
    (warm,) = system.warm(pool)
    container = system.id_of(warm)
    row = system.api.kubectl("get", "agentinstances", name_of(warm), "-o", "wide").splitlines()[1].split()
    assert warm["status"]["url"] in row
    assert container[:12] in row
    assert warm["status"]["url"].startswith("http://127.0.0.1:")
    assert names_of(system.containers(f"{POOL}={pool}")) == {f"agentpool-{uid_of(warm)}"}

    claim = system.claim(f"{name}-c", pool, agentName="Trip Planner", instructions="Plan a trip to Tokyo.")
    system.api.kubectl("wait", "--for=condition=Ready", f"agentclaim/{claim}", "--timeout=60s")
    status = system.get_claim(claim)["status"]
    assert (status["phase"], status["instance"]) == ("Bound", name_of(warm))
    assert status["inviteUrl"].startswith("https://dev.convos.org/v2?i=")
    conversation = system.ask(warm, "GET", "/convos/status").json()["conversation"]
    assert conversation == {"id": status["conversationId"], "inviteUrl": status["inviteUrl"]}
    assert system.run_inside(warm, "cat workspace/INSTRUCTIONS.md") == "Plan a trip to Tokyo."
    shown = f"{pool}-trip-planner-{container[:6]}"
    eventually(lambda: shown in names_of(system.containers()), lambda: names_of(system.containers()))
    assert system.id_of(warm) == container

    (refilled,) = system.warm(pool)
    assert uid_of(refilled) != uid_of(warm)
    system.api.kubectl("delete", "agentclaim", claim, "--timeout=60s")
    system.gone("agentinstances", name_of(warm))
    # Its finalizer has guarded it until nothing was left.
    assert system.left_of(uid_of(warm)) == []
    assert [uid_of(instance) for instance in system.warm(pool)] == [uid_of(refilled)]


def test_deleting_a_pool_leaves_nothing_with_its_label(system: DockerSystem, name: str) -> None:
    pool = system.pool(name, minIdle=2, template={"volume": {}})
    claim = system.claim(f"{name}-c", pool)
    system.bound(claim)
    system.warm(pool, 2)
    label = f"{POOL}={pool}"
    assert (len(system.containers(label)), len(system.volumes(label))) == (3, 3)
    system.api.kubectl("delete", "agentpool", pool, "--timeout=60s")
    eventually(lambda: system.instances(pool) == [], lambda: system.describe(pool))
    assert system.containers(label) == []
    assert system.volumes(label) == []
    system.claim_says(claim, "False/InstanceDeleted")


def test_a_name_that_somebody_has_taken_is_left_to_him(system: DockerSystem, name: str, stranger: Stranger) -> None:
    pool = system.pool(name)
    (warm,) = system.warm(pool)
    container = system.id_of(warm)
    taken = f"{pool}-planner-{container[:6]}"
    foreign = stranger(taken)
    system.bound(system.claim(f"{name}-c", pool, agentName="Planner"))
    longer = f"{pool}-planner-{container[:12]}"
    eventually(lambda: state_of(system.engine, container)[0] == longer, lambda: state_of(system.engine, container))
    system.api.kubectl("delete", "agentclaim", f"{name}-c", "--timeout=60s")
    eventually(lambda: system.left_of(uid_of(warm)) == [])
    assert state_of(system.engine, foreign) == (taken, "running")


def strip_and_delete(system: DockerSystem, instance: Object) -> None:
    """What an impatient person does: the object is gone, and nobody has ended what it stood for."""
    path = system.api.path("agentinstances", name_of(instance))
    answer = system.api.http.patch(path, content='{"metadata":{"finalizers":null}}', headers={"Content-Type": MERGE})
    assert answer.status_code == 200, answer.text
    system.api.delete("agentinstances", name_of(instance))


def test_orphans_are_ended_and_containers_of_other_people_and_other_operators_never(
    launch: Launch, docker_host: str, docker_engine: Engine, agent_image: str, stranger: Stranger
) -> None:
    ours, theirs = launch(docker_host, agent_image), launch(docker_host, agent_image)
    pool = unique("p")
    for system in (ours, theirs):
        system.pool(pool, template={"volume": {}})
    (orphan,), (neighbour,) = ours.warm(pool), theirs.warm(pool)
    before = theirs.inspect(neighbour)
    lookalike = stranger(f"agentpool-{uuid.uuid4()}")
    namesake = stranger(f"{name_of(orphan)}")
    half_marked = stranger(unique("half"), **{INSTALLATION: ours.installation})
    marked = stranger(unique("marked"), **{INSTALLATION: ours.installation, UID: str(uuid.uuid4())})

    strip_and_delete(ours, orphan)
    # A backend is asked for all it has at the start, and then every half minute.
    ours.command.kill()
    ours.command.start()
    ours.command.wait_ready()
    ours.nothing_left(uid_of(orphan))
    eventually(lambda: marked not in {container["Id"] for container in listed(docker_engine)})
    for container in (lookalike, namesake, half_marked):
        assert state_of(docker_engine, container)[1] == "running"
    ours.warm(pool)

    # The other one loses everything but its containers; ours does not take them for its own.
    ours.api.kubectl("delete", "agentpool", pool, "--timeout=60s")
    eventually(lambda: ours.instances(pool) == [])
    assert [uid_of(instance) for instance in theirs.warm(pool)] == [uid_of(neighbour)]
    after = theirs.inspect(neighbour)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert condition(theirs.api.get("agentinstances", name_of(neighbour)), "Ready")["status"] == "True"
    assert json.dumps(after["Config"]["Labels"], sort_keys=True) == json.dumps(
        before["Config"]["Labels"], sort_keys=True
    )
