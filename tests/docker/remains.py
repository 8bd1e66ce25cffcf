"""What a killed engine leaves behind, and how it is removed: containers, shims, proxies, mounts, cgroups."""

from __future__ import annotations

import ipaddress
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from tests.docker.bridge import Bridge

_CGROUPS = Path("/sys/fs/cgroup")
_DEADLINE_SECONDS = 20.0


def end_processes(folder: Path, cgroup: str, bridge: Bridge | None) -> None:
    """Kill every process that works for the engine in that folder, the engine itself excepted."""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    sockets = {path for shim in _shims(folder) for path in _listens_on(shim)}
    while left := [*_members(cgroup), *_shims(folder), *_proxies(bridge)]:
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(left, timeout=0.2)
        if time.monotonic() > deadline:
            raise OSError(f"these processes of {folder} do not end: {', '.join(str(each.pid) for each in left)}")
    for path in sockets:
        path.unlink(missing_ok=True)


def unmount_all(folder: Path) -> None:
    """Unmount whatever is mounted below the folder, the innermost first."""
    for point in sorted(mounts_below(folder), reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def mounts_below(folder: Path) -> list[str]:
    """The mount points below the folder."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return [point for point in points if point.startswith(f"{folder}/")]


def remove_cgroups(cgroup: str) -> None:
    """Remove the cgroups of the engine's containers, in every hierarchy."""
    for top in _cgroup_folders(cgroup):
        for path in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                path.rmdir()
        with suppress(OSError):
            top.rmdir()


def _cgroup_folders(cgroup: str) -> list[Path]:
    return [path for path in (_CGROUPS / cgroup, *_CGROUPS.glob(f"*/{cgroup}")) if path.is_dir()]


def _members(cgroup: str) -> Iterator[psutil.Process]:
    numbers: set[int] = set()
    for top in _cgroup_folders(cgroup):
        for path in top.rglob("cgroup.procs"):
            with suppress(OSError):
                numbers.update(int(line) for line in path.read_text().split())
    # 0 stands for a process that this PID namespace cannot see.
    return _alive(numbers - {0})


def _alive(numbers: Iterable[int]) -> Iterator[psutil.Process]:
    for number in numbers:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(number)
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _shims(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process, words in commands()
        if Path(words[0]).name.startswith("containerd-shim") and any(word.startswith(f"{folder}/") for word in words)
    ]


def _proxies(bridge: Bridge | None) -> list[psutil.Process]:
    if bridge is None:
        return []
    return [
        process
        for process, words in commands()
        if Path(words[0]).name == "docker-proxy" and any(_is_within(word, bridge) for word in words)
    ]


def _is_within(word: str, bridge: Bridge) -> bool:
    with suppress(ValueError):
        return ipaddress.IPv4Address(word) in bridge.block
    return False


def commands() -> Iterator[tuple[psutil.Process, list[str]]]:
    """Every process that lives, with its command line; one that ends meanwhile is left out."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if words and process.status() != psutil.STATUS_ZOMBIE:
                yield process, words


def _listens_on(shim: psutil.Process) -> list[Path]:
    with suppress(psutil.Error):
        return [
            Path(address)
            for address in (str(connection.laddr) for connection in shim.net_connections("unix"))
            if address.startswith("/run/containerd/s/")
        ]
    return []
