"""The API servers that a stage can stand on, and what can be done to their processes.

``AGENTPOOL_TEST_ENVTEST`` names a folder with the scripts ``start`` and ``stop`` of a genuine one, which the suite then
starts, kills and starts again. ``AGENTPOOL_TEST_KUBECONFIG`` names the kubeconfig of one that is somebody else's, and
left alone. Else it is the standalone one, as a process of its own.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import httpx
import psutil

from tests.cluster.conftest import Process
from tests.e2e.api import CRDS, KINDS, Api
from tests.e2e.commands import free_port
from tests.e2e.waiting import DEADLINE, eventually

ENVTEST = "AGENTPOOL_TEST_ENVTEST"
KUBECONFIG = "AGENTPOOL_TEST_KUBECONFIG"


class ApiServer(Protocol):
    """One that runs."""

    name: str
    kubeconfig: Path

    @property
    def parts(self) -> frozenset[str]:
        """Its processes that may be killed or frozen: apiserver, etcd; none if it is somebody else's."""
        ...

    def kill(self, part: str) -> None:
        """kill -9."""
        ...

    def start(self, part: str) -> None:
        """Start it again as it was, and wait until it answers."""
        ...

    def signal(self, part: str, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT."""
        ...

    def keep(self) -> None:
        """Take a copy of all that it holds; for that it is killed, and started again."""
        ...

    def restore(self) -> None:
        """Kill it, and start it with what the copy holds: all since then never happened."""
        ...


class Standalone:
    """The project's own."""

    name = "standalone"
    parts = frozenset({"apiserver"})

    def __init__(self, folder: Path) -> None:
        self._process = Process(folder, *sorted(CRDS.glob("*.yaml")))
        self._copy = folder.with_name(f"{folder.name}-copy")
        self.kubeconfig = self._process.start().kubeconfig

    def kill(self, part: str) -> None:
        self._process.kill()

    def start(self, part: str) -> None:
        self._process.start()

    def signal(self, part: str, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def keep(self) -> None:
        self._process.kill()
        _replace(self._copy, self._process.folder)
        self._process.start()

    def restore(self) -> None:
        self._process.kill()
        _replace(self._process.folder, self._copy)
        self._process.start()

    def end(self) -> None:
        self._process.stop()


class Given:
    """A genuine one that somebody else runs."""

    name = "genuine"
    parts: frozenset[str] = frozenset()

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        _install(kubeconfig)

    def kill(self, part: str) -> None:
        raise NotImplementedError(f"the {part} of somebody else is left alone")

    start = kill

    def signal(self, part: str, number: signal.Signals) -> None:
        self.kill(part)

    def keep(self) -> None:
        self.kill("etcd")

    restore = keep


class Envtest:
    """A genuine one that the suite starts by scripts; it keeps its etcd and its API server apart by pid files."""

    name = "genuine"
    parts = frozenset({"apiserver", "etcd"})

    def __init__(self, scripts: Path, folder: Path) -> None:
        self._scripts, self._folder = scripts, folder
        ports = {"PORT": str(free_port()), "ETCD_PORT": str(_two_free_ports())}
        self.kubeconfig = Path(self._script("start", **ports).splitlines()[-1])
        self._commands: dict[str, Sequence[str]] = {
            part: psutil.Process(self._pid(part)).cmdline() for part in self.parts
        }
        self._started: list[subprocess.Popen[bytes]] = []
        _install(self.kubeconfig)

    def kill(self, part: str) -> None:
        pid = self._pid(part)
        os.kill(pid, signal.SIGKILL)
        for process in self._started:
            if process.pid == pid:
                process.wait(DEADLINE)
        eventually(lambda: not _runs(pid))

    def start(self, part: str) -> None:
        self._begin(part)
        eventually(lambda: _serves(self.kubeconfig))

    def keep(self) -> None:
        self._copy(self._folder / "copy", self._folder / "etcd")

    def restore(self) -> None:
        self._copy(self._folder / "etcd", self._folder / "copy")

    def _copy(self, to: Path, whole: Path) -> None:
        # As its handbook has it: an API server remembers what is not there any more.
        self.kill("apiserver")
        self.kill("etcd")
        _replace(to, whole)
        self._begin("etcd")
        self.start("apiserver")

    def _begin(self, part: str) -> None:
        with (self._folder / f"{part}.log").open("ab") as log:
            process = subprocess.Popen(
                self._commands[part], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(process)
        (self._folder / f"{part}.pid").write_text(str(process.pid))

    def signal(self, part: str, number: signal.Signals) -> None:
        os.kill(self._pid(part), number)

    def end(self) -> None:
        for part in self.parts:
            with contextlib.suppress(ProcessLookupError):
                self.signal(part, signal.SIGCONT)
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(DEADLINE)
        self._script("stop")

    def _pid(self, part: str) -> int:
        return int((self._folder / f"{part}.pid").read_text())

    def _script(self, name: str, **env: str) -> str:
        # Not through a pipe: what it starts would inherit it.
        with (self._folder.parent / f"{name}-of-envtest").open("w+") as said:
            command = [str(self._scripts / name), str(self._folder)]
            done = subprocess.run(command, env={**os.environ, **env}, stdout=said, check=False, timeout=2 * DEADLINE)
            said.seek(0)
            printed = said.read()
        assert done.returncode == 0, f"{command} failed: {printed}"
        return printed


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[ApiServer]:
    """The API server that the environment chooses, for as long as the block lasts."""
    if scripts := os.environ.get(ENVTEST):
        envtest = Envtest(Path(scripts).absolute(), folder / "envtest")
        try:
            yield envtest
        finally:
            envtest.end()
    elif given := os.environ.get(KUBECONFIG):
        yield Given(Path(given))
    else:
        standalone = Standalone(folder / "standalone")
        try:
            yield standalone
        finally:
            standalone.end()


def _install(kubeconfig: Path) -> None:
    """The CRDs, as a person installs them."""
    api = Api(kubeconfig, "default")
    api.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    api.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    api.http.close()
    eventually(lambda: _serves(kubeconfig))


def _serves(kubeconfig: Path) -> bool:
    """Whether it answers, for our kinds too: for a moment after their definition or its start it refuses."""
    api = Api(kubeconfig, "default")
    try:
        return all(api.http.get(api.path(plural)).status_code == 200 for plural in KINDS)
    except httpx.TransportError:
        return False
    finally:
        api.http.close()


def _replace(to: Path, whole: Path) -> None:
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(whole, to)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _two_free_ports() -> int:
    """One whose successor is free, too."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError, OverflowError), socket.socket() as following:
            following.bind(("127.0.0.1", port + 1))
            return port
