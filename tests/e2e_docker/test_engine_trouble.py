"""An engine that is down, comes back, or has no room: nothing is created, the remedy is told, all heals by itself."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.docker import image as images
from tests.docker.api import Engine
from tests.docker.engine import PrivateEngine
from tests.docker.plugin import require_own_engine
from tests.e2e.api import Object, condition
from tests.e2e.system import name_of, uid_of
from tests.e2e.waiting import eventually
from tests.e2e_docker.conftest import Launch
from tests.e2e_docker.stage import UID, DockerSystem

pytestmark = pytest.mark.cluster

DISK_MEGABYTES = 900
STRICT = {"openSeconds": 3600}
"""A circuit that opened because of launches stays open; that an engine is away must not count as one."""


@pytest.fixture(scope="module")
def engine() -> Iterator[PrivateEngine]:
    """An engine to be rough with, on a small disk of its own where disks can be mounted."""
    require_own_engine()
    folder = Path(tempfile.mkdtemp(prefix="ap-"))
    engine = PrivateEngine(folder)
    mount(folder / "data")
    yield engine
    engine.remove()


def mount(place: Path) -> None:
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=711", "tmpfs", str(place)]
    # Without its own disk it is on the host's, which only the test of a full disk minds.
    with suppress(OSError):
        subprocess.run(command, check=False, capture_output=True)


@pytest.fixture(scope="module")
def image(engine: PrivateEngine) -> str:
    """The tag of the agent's image on that engine."""
    engine.start()
    with closing(Engine(engine.host)) as client:
        return images.agent_image(client)


@pytest.fixture
def up(engine: PrivateEngine, image: str) -> tuple[str, str]:
    """Host and image of the engine, which answers."""
    engine.start()
    return engine.host, image


def down(system: DockerSystem, engine: PrivateEngine, pool: str) -> None:
    """The pool says that its engine is away, and what to do."""
    # An engine that is killed in the middle of an answer breaks the connection first.
    sentence = f"the Docker engine at {engine.host} does not answer: start it, or set DOCKER_HOST"
    eventually(
        lambda: sentence in system.pool_says(pool, "BackendAvailable", "False/BackendUnavailable"),
        lambda: system.describe(pool),
    )
    assert system.get_pool(pool)["status"]["circuitBreaker"]["state"] == "Open"
    eventually(lambda: 'agentpool_backend_available{backend="docker"} 0.0' in system.command.metrics())


def recovered(system: DockerSystem, pool: str, count: int = 1) -> list[Object]:
    """The idle instances, once the pool has nothing to complain of."""
    idle = system.warm(pool, count)
    system.pool_says(pool, "BackendAvailable", "True/Available")
    eventually(
        lambda: system.get_pool(pool)["status"].get("circuitBreaker", {}).get("state", "Closed") == "Closed",
        lambda: system.describe(pool),
    )
    assert {system.status(instance) for instance in idle} == {"running"}
    return idle


def test_an_operator_that_starts_before_its_engine_creates_nothing_until_the_engine_is_there(
    launch: Launch, engine: PrivateEngine, image: str
) -> None:
    engine.kill()
    system = launch(engine.host, image)
    before = system.api.version("agentinstances")
    system.pool("p", circuitBreaker=STRICT)
    down(system, engine, "p")
    waiting = system.claim_says(system.claim("c", "p"), "False/Queued")
    assert condition(waiting, "Ready")["message"]
    assert system.launches("p", before) == set()
    engine.start()
    system.bound("c")
    recovered(system, "p")
    # One for the claim, one that is warm: none was tried in vain.
    assert len(system.launches("p", before)) == 2


def test_an_engine_that_dies_takes_nothing_with_it_but_what_it_ran(
    launch: Launch, engine: PrivateEngine, up: tuple[str, str]
) -> None:
    system = launch(*up)
    system.pool("p", template={"volume": {}}, circuitBreaker=STRICT)
    claim = system.claim("c", "p")
    system.bound(claim)
    idle, instance = system.warm("p"), system.instance_of(claim)
    engine.kill()
    down(system, engine, "p")
    before = system.api.version("agentinstances")
    system.claim("later", "p")
    # A claim that is given back now is ended once the engine can be asked to.
    system.api.delete("agentclaims", claim)
    system.instance_says(name_of(instance), "False/Terminating")
    assert system.launches("p", before) == set()

    engine.start()
    system.gone("agentinstances", name_of(instance))
    system.nothing_left(uid_of(instance), *(uid_of(each) for each in idle))
    later = system.bound("later")["status"]
    conversation = system.ask(system.instance_of("later"), "GET", "/convos/status").json()["conversation"]
    assert conversation["id"] == later["conversationId"]
    recovered(system, "p")
    assert len(system.containers()) == 2


def test_an_engine_that_is_restarted_in_order_ends_its_containers_and_idle_ones_are_replaced(
    launch: Launch, engine: PrivateEngine, up: tuple[str, str]
) -> None:
    system = launch(*up)
    system.pool("p", minIdle=2, circuitBreaker=STRICT)
    claim = system.claim("c", "p")
    system.bound(claim)
    instance, idle = system.instance_of(claim), system.warm("p", 2)
    engine.restart()
    troubled = system.claim_says(claim, "False/InstanceCrashed")
    assert troubled["status"]["phase"] == "Bound"
    assert "delete the claim to give it back" in condition(troubled, "Ready")["message"]
    system.nothing_left(*(uid_of(each) for each in idle))
    recovered(system, "p", 2)
    # The person decides: started again it is what it was before.
    system.on_container(instance, "start")
    system.claim_says(claim, "True/Bound")
    conversation = system.ask(system.instance_of(claim), "GET", "/convos/status").json()["conversation"]
    assert conversation["id"] == troubled["status"]["conversationId"]


def test_an_engine_without_room_is_told_and_launches_go_on_once_there_is_some(
    launch: Launch, engine: PrivateEngine, up: tuple[str, str]
) -> None:
    if not (engine.folder / "data").is_mount():
        pytest.skip("no disk can be mounted here, so that none can be filled")
    system = launch(*up)
    ballast = engine.folder / "data" / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    before = system.api.version("agentinstances")
    system.pool("p", circuitBreaker={"failures": 2, "openSeconds": 3600})
    told = system.pool_says("p", "Degraded", "True/CircuitOpen")
    assert "the disk of the Docker engine is full: free space there" in told
    assert len(system.launches("p", before)) == 2
    eventually(lambda: system.instances("p") == [], lambda: system.describe("p"))
    ballast.unlink()
    system.change("p", circuitBreaker={"openSeconds": 1})
    (instance,) = system.warm("p")
    assert [container["Labels"][UID] for container in system.containers()] == [uid_of(instance)]
