"""An API server that comes back with nothing in it knows of no instance, which says nothing of what runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import Process
from tests.e2e import host
from tests.e2e.api import CRDS, Api
from tests.e2e.commands import Command
from tests.e2e.system import GATEWAY, SHORT_LEASE, System, create_namespace, unique
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    """A standalone API server that is no part of the operator's process."""
    process = Process(tmp_path / "data", *sorted(CRDS.glob("*.yaml")))
    yield process
    process.kill()


@pytest.fixture
def system(server: Process, tmp_path: Path) -> Iterator[System]:
    """An operator on that server."""
    kubeconfig, state = server.start().kubeconfig, tmp_path / "state"
    api = Api(kubeconfig, unique("e2e"))
    create_namespace(api)
    env = SHORT_LEASE | {"AGENTPOOL_ORPHAN_GRACE_SECONDS": "1", "AGENTPOOL_RELIST_SECONDS": "10"}
    where = ("--kubeconfig", str(kubeconfig), "--namespace", api.namespace, "--state-dir", str(state))
    command = Command("run", *where, log=tmp_path / "log", AGENTPOOL_BACKENDS="process", **env).start()
    system = System("standalone", api, command, state / "instances", "default")
    try:
        command.wait_ready()
        yield system
    finally:
        command.end()
        host.end_all(system.instances_root)
        api.http.close()


def test_nothing_is_ended_because_an_api_server_has_lost_everything(
    server: Process, system: System, tmp_path: Path
) -> None:
    system.pool("p", template=GATEWAY)
    system.claim("c", "p")
    system.bound("c")
    system.warm("p")
    families = system.families()
    server.kill()
    kept = {file: file.read_bytes() for file in server.folder.iterdir() if file.name.startswith("objects.db")}
    for file in kept:
        file.unlink()
    server.start()
    create_namespace(system.api)
    eventually(
        lambda: "does not know this installation: they are left alone" in system.command.output,
        lambda: system.command.output,
    )
    assert system.families() == families

    # Somebody finds the backup, and starts the operator again.
    system.command.kill()
    server.kill()
    for file, content in kept.items():
        file.write_bytes(content)
    server.start()
    system.command.start()
    system.command.wait_ready()
    system.warm("p")
    assert system.claim_says("c", "True/Bound")
    assert system.families() == families
