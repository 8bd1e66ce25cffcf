"""The operator in the confines of its manifest: a read-only root, no capabilities, no new privileges."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.api import Api
from tests.e2e.commands import Command
from tests.e2e.system import System, create_namespace, unique
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CONFINE = """
mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro / &&
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""
"""Of all that is on the root's disk only one folder can be written from then on."""


@pytest.fixture
def confines(tmp_path: Path) -> list[str]:
    """A command that confines itself to one folder, and becomes the command that follows."""
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("util-linux has no unshare and setpriv here")
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", CONFINE, str(tmp_path)]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"this host lets nobody have mounts of their own: {tried.stderr.strip()}")
    return command


@pytest.fixture
def system(server: tuple[str, Path | None], api_server: Path, confines: list[str], tmp_path: Path) -> Iterator[System]:
    api = Api(api_server, unique("confined"))
    create_namespace(api)
    state, temporary = tmp_path / "state", tmp_path / "tmp"
    temporary.mkdir()
    where = ("--kubeconfig", str(api_server), "--namespace", api.namespace, "--operator-namespace", api.namespace)
    env = {"AGENTPOOL_BACKENDS": "process", "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    rest = ("--state-dir", str(state))
    command = Command("run", *where, *rest, log=tmp_path / "log", through=confines, **env)
    system = System(server[0], api, command, state / "instances", api.namespace)
    yield system
    system.erase()


def test_the_confines_are_what_they_say(confines: list[str], tmp_path: Path) -> None:
    def confined(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*confines, *command], capture_output=True, text=True, check=False)

    assert confined("touch", str(tmp_path / "inside")).returncode == 0
    assert "Read-only file system" in confined("touch", str(tmp_path.parent / "outside")).stderr
    status = dict(
        line.split(":\t") for line in confined("cat", "/proc/self/status").stdout.splitlines() if ":\t" in line
    )
    assert (int(status["CapEff"], 16), status["NoNewPrivs"]) == (0, "1")


def test_a_whole_life_writes_nowhere_but_in_the_state_directory_and_needs_no_capability(system: System) -> None:
    system.command.start()
    system.command.wait_ready()
    system.pool("p")
    system.bound(system.claim("c", "p"))
    system.warm("p")
    system.remove("c", "p")
    eventually(lambda: not system.api.all("agentinstances"), lambda: system.api.all("agentinstances"))
    assert system.command.stop() == 0
    system.command.check_output()
    assert "Read-only file system" not in system.command.output
