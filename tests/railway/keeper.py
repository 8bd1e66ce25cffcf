"""Sees to it that nothing which the twin started outlives the twin, even when that is killed.

    python keeper.py ROOT

What begins is told on standard input as ``+ GROUP PIPE``, and what has ended with a minus: the process group of a
program and the pipe that it writes to. When that input ends, all of these are killed, and with them every process
whose state directory lies below ROOT: an agent may have left its group, forgotten its environment, or closed its
output, but hardly all three. It imports nothing but the standard library, so that it is there in a few milliseconds.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

PATIENCE = 10.0
PAUSE = 0.01

Belongs = Callable[[dict[bytes, bytes]], bool]
"""Decides by the environment of a process."""


def family(belongs: Belongs, pipes: Collection[str]) -> list[int]:
    """The pids of all living processes whose environment belongs, or that write to one of the pipes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            content = (entry / "environ").read_bytes()
            environ = dict(each.split(b"=", 1) for each in content.split(b"\0") if b"=" in each)
            if belongs(environ) or not _outputs(entry).isdisjoint(pipes):
                found.append(int(entry.name))
    return found


def end_group(group: int) -> None:
    """Kill all of a process group that is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def end_family(belongs: Belongs, pipes: Collection[str]) -> None:
    """Kill all that belong until there are none: one may be starting another just now."""
    end = time.monotonic() + PATIENCE
    while (pids := family(belongs, pipes)) and time.monotonic() < end:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE)


def below(root: str) -> Belongs:
    """Whether a process has its state directory below a directory."""
    start = os.fsencode(root) + b"/"
    return lambda environ: environ.get(b"OPENCLAW_STATE_DIR", b"").startswith(start)


def main() -> None:
    """Wait for the end of the twin, and clean up after it."""
    root = sys.argv[1]
    # Whoever ends a whole terminal or a whole job ends the twin, and then there is work for us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    begun: dict[int, str] = {}
    for line in sys.stdin:
        what, group, pipe = line.split()
        if what == "+":
            begun[int(group)] = pipe
        else:
            begun.pop(int(group), None)
    for group_left in begun:
        end_group(group_left)
    end_family(below(root), set(begun.values()))


def _outputs(entry: Path) -> set[str]:
    found = set()
    for descriptor in ("1", "2"):
        with suppress(OSError):
            found.add(str((entry / "fd" / descriptor).readlink()))
    return found


if __name__ == "__main__":
    main()
