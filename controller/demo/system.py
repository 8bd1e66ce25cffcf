"""The standalone system under demonstration: its process, and whatever it started."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from controller.errors import AgentpoolError

START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_KILL_SECONDS = 10.0
_LOOK_SECONDS = 0.05


class System:
    """``agentpool standalone`` on a directory of its own, on ports that are free."""

    def __init__(self, folder: Path) -> None:
        self.env: Mapping[str, str] = {}
        """What it gets besides the environment of the demo."""
        self._folder = folder
        self.log = folder / "standalone.log"
        self.kubeconfig = folder / "kubeconfig"
        self._http_port = _free_port()
        program = Path(sys.executable).with_name("agentpool")
        self.command = [str(program), "standalone", "--data-dir", str(folder), "--http-port", str(self._http_port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C of the terminal is for the demo, which then ends it in order."""
        settings = {name: value for name, value in os.environ.items() if not name.startswith("AGENTPOOL_")}
        settings |= self.env
        try:
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    self.command,
                    env=settings,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except FileNotFoundError:
            raise AgentpoolError(f"{self.command[0]} does not exist: run 'make install'") from None

    def wait_until_ready(self) -> None:
        """Return when the API server and the operator serve."""
        end = time.monotonic() + START_SECONDS
        while not (self.kubeconfig.exists() and self._ready()):
            self.see_that_it_runs()
            if time.monotonic() > end:
                raise AgentpoolError(f"the standalone system was not ready after {START_SECONDS:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def see_that_it_runs(self) -> None:
        """Raise with its last words if it ended."""
        if self._process is not None and self._process.poll() is not None:
            words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise AgentpoolError(
                f"the standalone system ended with exit code {self._process.returncode}"
                + (f": {words[-1]}" if words else "")
            )

    def stop(self) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AgentpoolError(f"the standalone system did not end within {_STOP_SECONDS:.0f} s of SIGTERM") from None

    def processes(self) -> list[psutil.Process]:
        """Every living process of it: its own, and those of its instances."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def end(self) -> None:
        """End whatever is left of it, instances included, by force where asking does not help."""
        with suppress(AgentpoolError):  # it was killed instead
            self.stop()
        end = time.monotonic() + _KILL_SECONDS
        while (left := self.processes()) and time.monotonic() < end:
            for process in left:
                with suppress(psutil.NoSuchProcess):  # it ended by itself
                    process.kill()
            psutil.wait_procs(left, timeout=1)

    def _ready(self) -> bool:
        try:
            # Without TLS there is nothing to verify, and reading all authorities takes longer than the look itself.
            url = f"http://127.0.0.1:{self._http_port}/readyz"
            return httpx.get(url, trust_env=False, timeout=5, verify=False).is_success  # noqa: S501
        except httpx.TransportError:
            return False

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            words = process.cmdline()
            if "standalone" in words and str(self._folder) in words:
                return True
            environment = process.environ()
        except (psutil.Error, OSError):
            return False  # gone, or somebody else's
        return "AGENTPOOL_INSTANCE" in environment and Path(environment.get("HOME", "/")).is_relative_to(self._folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
