"""A Docker engine of one's own: ``python -m tests.docker.engine start FOLDER``, and ``stop FOLDER``.

It shares nothing with other engines on the host: socket, containerd, data, bridge, addresses and cgroups are its own,
and it never touches the firewall. So several run side by side; published ports are served by docker-proxy, containers
reach this host at the bridge's gateway, and nothing beyond it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

from tests.docker import remains
from tests.docker.api import Engine, EngineError
from tests.docker.bridge import Bridge, find_bridge, make_bridge, remove_interfaces
from tests.docker.host import program_path, search_path, why_not_allowed

USUAL_SOCKETS = ("unix:///var/run/docker.sock",)
_NEEDED = ("dockerd", "containerd", "runc", "ip")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
# The longest socket below the folder adds 42 characters, and 107 is all that the kernel takes.
_LONGEST_FOLDER = 64


def answering_engine() -> str | None:
    """The DOCKER_HOST of an engine that answers: the variable's, else the usual socket's."""
    for host in [os.environ.get("DOCKER_HOST", ""), *USUAL_SOCKETS]:
        if not host:
            continue
        with suppress(EngineError):
            engine = Engine(host)
            try:
                if engine.answers():
                    return host
            finally:
                engine.close()
    return None


def why_no_engine() -> str | None:
    """What this process or machine lacks for an engine of its own; None if nothing."""
    if lack := why_not_allowed():
        return lack
    missing = [name for name in _NEEDED if program_path(name) is None]
    if missing:
        return f"a private Docker engine needs {', '.join(missing)}, not found on PATH (Debian: docker.io, iproute2)"
    return None


class PrivateEngine:
    """dockerd and its containerd in a folder; it can be killed, and started again on the same data."""

    def __init__(
        self,
        folder: Path,
        *,
        live_restore: bool = False,
        tcp: str | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """``tcp`` is where it listens besides its socket, ``settings`` what its configuration holds besides."""
        self.folder = folder.resolve()
        self._live_restore = live_restore
        self._tcp = tcp
        self._settings = dict(settings or {})
        self.name = "ap" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:10]
        self._spawned: int | None = None

    def __enter__(self) -> PrivateEngine:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def host(self) -> str:
        """The DOCKER_HOST."""
        return f"unix://{self.folder}/docker.sock"

    @property
    def log(self) -> Path:
        """What dockerd prints."""
        return self.folder / "dockerd.log"

    @property
    def pid(self) -> int | None:
        """The process id of dockerd; None when it does not run."""
        return self._pid_of("dockerd")

    @property
    def bridge(self) -> Bridge | None:
        """The bridge of its containers; None while there is none."""
        return find_bridge(self.name)

    def start(self) -> None:
        """Start what does not run yet, and wait until the engine answers."""
        if lack := why_no_engine():
            raise EngineError(lack)
        if len(str(self.folder)) > _LONGEST_FOLDER:
            raise EngineError(f"{self.folder} is too long for sockets below it: at most {_LONGEST_FOLDER} characters")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        try:
            bridge = make_bridge(self.name)
            self._write_configuration(bridge)
            if self._pid_of("containerd") is None:
                (self.folder / "c.sock").unlink(missing_ok=True)
                self._spawn("containerd", "--config", str(self.folder / "containerd.toml"))
                self._wait_for("containerd", (self.folder / "c.sock").is_socket)
            if self.pid is None:
                self._spawn("dockerd", "--config-file", str(self.folder / "dockerd.json"))
            self._wait_for("dockerd", self._answers)
        except (OSError, EngineError) as error:
            with suppress(OSError, EngineError):
                self.stop()
            raise EngineError(f"no Docker engine could be started in {self.folder}: {error}") from error

    def stop(self) -> None:
        """End it with all its containers, and clean up; its data stays."""
        if self.pid is not None and not self._live_restore:
            self._end("dockerd", signal.SIGTERM)
        self._end("dockerd", signal.SIGKILL)
        remains.end_processes(self.folder, self.name, self.bridge)
        self._end("containerd", signal.SIGTERM)
        self._end("containerd", signal.SIGKILL)
        remains.unmount_all(self.folder)
        remains.remove_cgroups(self.name)
        remove_interfaces([*self._further_bridges(), self.name])

    def kill(self, *, containerd: bool = False) -> None:
        """kill -9 dockerd, and its containerd if wanted; containers and shims stay."""
        self._end("dockerd", signal.SIGKILL)
        if containerd:
            self._end("containerd", signal.SIGKILL)

    def restart(self) -> None:
        """End dockerd in order, its containers too unless live_restore, and start it again on the same data."""
        self._end("dockerd", signal.SIGTERM)
        self.start()

    def remove(self) -> None:
        """Stop it and delete the folder with its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _further_bridges(self) -> set[str]:
        """The bridges of the networks it ever had: it leaves them behind, and only its store still knows them."""
        try:
            store = (self.folder / "data/network/files/local-kv.db").read_bytes()
        except OSError:
            return set()
        return {name.decode() for name in re.findall(rb"br-[0-9a-f]{12}", store)}

    def _write_configuration(self, bridge: Bridge) -> None:
        # A file of its own also keeps the host's /etc/docker/daemon.json out. It names no default-address-pools: with
        # them, an engine that starts again deletes docker0, whosever that is.
        engine = {
            "hosts": [self.host, *([self._tcp] if self._tcp else [])],
            "containerd": str(self.folder / "c.sock"),
            "data-root": str(self.folder / "data"),
            "exec-root": str(self.folder / "exec"),
            "pidfile": str(self.folder / "dockerd.pid"),
            "bridge": bridge.name,
            "iptables": False,
            "ip-masq": False,
            "ip-forward": False,
            "cgroup-parent": f"/{self.name}",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "live-restore": self._live_restore,
            "shutdown-timeout": 5,
            **self._settings,
        }
        (self.folder / "dockerd.json").write_text(json.dumps(engine, indent=2), encoding="utf-8")
        (self.folder / "containerd.toml").write_text(
            f'version = 2\nroot = "{self.folder}/c/data"\nstate = "{self.folder}/c/run"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.folder}/c.sock"\n'
            f'[plugins."io.containerd.internal.v1.opt"]\npath = "{self.folder}/c/opt"\n',
            encoding="utf-8",
        )

    def _spawn(self, program: str, *arguments: str) -> None:
        path = program_path(program)
        assert path is not None
        pid_file = self.folder / f"{program}.pid"
        pid_file.unlink(missing_ok=True)
        writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._spawned = os.posix_spawn(
            path,
            [path, *arguments],
            _environment(),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.folder / f"{program}.log"), writing, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            # Whoever started it may end before it, by Control-C as well.
            setsid=True,
        )
        if program == "containerd":  # dockerd writes its own, and refuses to start over another's
            pid_file.write_text(f"{self._spawned}\n", encoding="utf-8")

    def _wait_for(self, program: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            if self._spawned is not None and _has_ended(self._spawned):
                raise EngineError(f"{program} ended at once: {self._last_words(program)}")
            if time.monotonic() > deadline:
                raise EngineError(
                    f"{program} does not answer after {_START_SECONDS:.0f} s: {self._last_words(program)}"
                )
            time.sleep(0.05)

    def _last_words(self, program: str) -> str:
        path = self.folder / f"{program}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        telling = [
            line for line in lines if "level=fatal" in line or "level=error" in line or "failed to start" in line
        ]
        return f"{(telling or lines or ['it printed nothing'])[-1][-500:]} (all of it: {path})"

    def _answers(self) -> bool:
        engine = Engine(self.host)
        try:
            return engine.answers()
        finally:
            engine.close()

    def _pid_of(self, program: str) -> int | None:
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((self.folder / f"{program}.pid").read_text(encoding="utf-8")))
            # The file outlives its process, and process ids are used again.
            ours = any(word.startswith(f"{self.folder}/") for word in process.cmdline())
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                return process.pid
        return None

    def _end(self, program: str, number: signal.Signals) -> None:
        pid = self._pid_of(program)
        if pid is not None:
            os.kill(pid, number)
            deadline = time.monotonic() + _STOP_SECONDS
            while not _has_ended(pid) and time.monotonic() < deadline:
                time.sleep(0.02)
        if number is signal.SIGKILL:
            (self.folder / f"{program}.pid").unlink(missing_ok=True)


def _has_ended(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    # No child of ours. Its zombie may stay for ever, and is one as soon as the first of its threads has ended.
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


def main(arguments: list[str]) -> int:
    """Start or stop the engine in a folder, or say why this process may not; start's last line is its DOCKER_HOST."""
    match arguments:
        case ["start", folder]:
            engine = PrivateEngine(Path(folder))
            try:
                engine.start()
            except EngineError as error:
                sys.stderr.write(f"{error}\n")
                return 1
            sys.stdout.write(f"{engine.host}\n")
            return 0
        case ["allowed"]:
            lack = why_not_allowed()
            sys.stdout.write(f"{lack}\n" if lack else "")
            return 1 if lack else 0
        case ["stop", folder]:
            PrivateEngine(Path(folder)).stop()
            return 0
    sys.stderr.write("usage: python -m tests.docker.engine start FOLDER | stop FOLDER | allowed\n")
    return 2


def _environment() -> dict[str, str]:
    # dockerd looks for docker-proxy where root's programs are.
    env = {**os.environ, "PATH": search_path()}
    # Registries are trusted because the host trusts them: tests/conftest.py does without, and keeps what there was.
    if (former := env.pop("AGENTPOOL_TEST_AUTHORITIES", None)) is not None:
        env.pop("SSL_CERT_FILE", None)
        env |= {"SSL_CERT_FILE": former} if former else {}
    return env


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
