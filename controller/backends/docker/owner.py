"""Who is at work on something temporary, so that whoever comes later knows whether it was left behind."""

import os
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """A text that names this process among all that ever ran on this host; of no meaning to another host."""
    return f"{_place()} {os.getpid()} {_started(os.getpid())}"


def is_alive(owner: str) -> bool | None:
    """Whether that process still runs; ``None`` when it cannot be seen from here."""
    place, _, process = owner.partition(" ")
    pid, _, started = process.partition(" ")
    if not place or place != _place() or not pid.isdecimal():
        return None
    return _started(int(pid)) == started != ""


def _place() -> str:
    """One run of one kernel, and the processes that are seen from here; empty where neither can be told."""
    try:
        run = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{run}/{(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in ticks of the kernel; empty when there is none."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return ""
    # The name of the program may hold spaces and brackets: fields are counted from its closing bracket.
    fields = stat[stat.rfind(")") + 2 :].split()
    return "" if fields[0] in {"Z", "X"} else fields[19]
