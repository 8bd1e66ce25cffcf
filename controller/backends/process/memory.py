"""How much memory an instance uses, and how much it may."""

import re
from collections.abc import Iterable
from pathlib import Path

from controller.backends.process.table import Process

_PSS = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)


def exceeds(family: Iterable[Process], limit: int) -> bool:
    """Whether the processes together use more than the limit.

    Resident sizes are cheap but count shared pages once per process; only when they are above the limit are the
    proportional sizes read, which count each page once.
    """
    members = list(family)
    if sum(process.rss for process in members) <= limit:
        return False
    return sum(_proportional(process) for process in members) > limit


def _proportional(process: Process) -> int:
    try:
        rollup = Path(f"/proc/{process.identity.pid}/smaps_rollup").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except OSError:
        return process.rss
    found = _PSS.search(rollup)
    return int(found[1]) * 1024 if found else 0
