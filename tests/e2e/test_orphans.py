"""Processes that nobody owns are ended; those of others are never touched."""

import subprocess
import uuid
from collections.abc import Iterator

import psutil
import pytest

from tests.e2e.api import MERGE
from tests.e2e.conftest import Launch
from tests.e2e.system import GATEWAY, System, name_of
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def sleeper() -> Iterator[object]:
    """Starts processes with a given environment."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(**env: str) -> subprocess.Popen[bytes]:
        processes.append(
            subprocess.Popen(["sleep", "3600"], env={"PATH": "/usr/bin:/bin", **env}, start_new_session=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def installation_of(system: System) -> str:
    return system.api.installation(system.operator_namespace)


def strip_and_delete(system: System, name: str) -> None:
    """What an impatient person does: the object is gone, and nobody has ended what it stood for."""
    path = system.api.path("agentinstances", name)
    answer = system.api.http.patch(path, content='{"metadata":{"finalizers":null}}', headers={"Content-Type": MERGE})
    assert answer.status_code == 200, answer.text
    system.api.delete("agentinstances", name)


def test_orphans_are_ended_after_the_grace_period_and_foreign_processes_never(launch: Launch, sleeper: object) -> None:
    assert callable(sleeper)
    system = launch()
    system.pool("p", template=GATEWAY)
    (instance,) = system.warm("p")
    pids = system.pids(instance)
    stranger = sleeper()
    neighbour = sleeper(AGENTPOOL_INSTANCE=str(uuid.uuid4()), AGENTPOOL_INSTALLATION="another")
    lost = sleeper(AGENTPOOL_INSTANCE=str(uuid.uuid4()), AGENTPOOL_INSTALLATION=installation_of(system))

    strip_and_delete(system, name_of(instance))
    system.gone("agentinstances", name_of(instance))
    # A backend is asked for all it has at the start, and then every half minute.
    system.command.kill()
    system.command.start()
    system.command.wait_ready()
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids), lambda: system.describe("p"))
    eventually(lambda: lost.poll() is not None)
    eventually(lambda: 'agentpool_orphans_ended_total{backend="process"} 2.0' in system.command.metrics())
    assert not system.home(instance).exists()
    assert stranger.poll() is None
    assert neighbour.poll() is None
    (other,) = system.warm("p")
    assert name_of(other) != name_of(instance)


def test_what_runs_for_a_namespace_that_is_served_no_more_is_no_orphan(launch: Launch, sleeper: object) -> None:
    """Its AgentInstance is there, and this operator cannot see it: somebody else may have taken the namespace over."""
    assert callable(sleeper)
    system = launch()
    if system.kind == "genuine":
        pytest.skip("there the namespace is named on the command line")
    system.pool("p", template=GATEWAY)
    system.warm("p")
    system.claim("c", "p")
    system.bound("c")
    system.warm("p")
    families = system.families()
    lost = sleeper(AGENTPOOL_INSTANCE=str(uuid.uuid4()), AGENTPOOL_INSTALLATION=installation_of(system))
    system.command.kill()
    system.command.change(AGENTPOOL_NAMESPACES="another")
    system.command.start()
    system.command.wait_ready()
    eventually(lambda: lost.poll() is not None)
    eventually(lambda: "does not serve" in system.command.output)
    eventually(lambda: 'agentpool_orphans_ended_total{backend="process"} 1.0' in system.command.metrics())
    assert system.families() == families

    system.command.kill()
    system.command.change()
    system.command.start()
    system.command.wait_ready()
    system.warm("p")
    assert system.families() == families
    assert system.claim_says("c", "True/Bound")
