"""The processes of instances, as the host sees them."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.e2e.marked import carrying


@dataclass(frozen=True)
class Seen:
    """A living process that carries the mark of an instance."""

    pid: int
    parent: int
    instance: str
    state_dir: str


def marked(root: Path) -> list[Seen]:
    """All living processes of instances that have their home below that directory."""
    found = []
    for process, env in carrying("AGENTPOOL_INSTANCE"):
        try:
            seen = Seen(process.pid, process.ppid(), env["AGENTPOOL_INSTANCE"], env.get("OPENCLAW_STATE_DIR", ""))
        except psutil.Error:
            continue
        if seen.instance and Path(seen.state_dir).is_relative_to(root):
            found.append(seen)
    return found


def processes_of(root: Path, uid: str) -> set[int]:
    """The pids of one instance, children included."""
    return {process.pid for process in marked(root) if process.instance == uid}


def mains(root: Path) -> dict[str, list[int]]:
    """For every instance with a process, the pids of those that lead a family: one each, if all is well."""
    processes = marked(root)
    pids = {process.pid for process in processes}
    leaders: dict[str, list[int]] = {}
    for process in processes:
        if process.parent not in pids:
            leaders.setdefault(process.instance, []).append(process.pid)
    return leaders


def end_all(root: Path) -> None:
    """Kill every process of every instance below that directory."""
    while processes := marked(root):
        for process in processes:
            signal_one(process.pid, signal.SIGKILL)


def signal_one(pid: int, number: signal.Signals) -> None:
    """Signal a process, unless it is gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        signal_one(pid, number)
