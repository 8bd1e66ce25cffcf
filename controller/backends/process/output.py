"""What an instance writes to its standard output and error: the file ``log`` in its directory."""

import os
import re
from pathlib import Path

CAP_BYTES = 16 * 1024 * 1024
"""A log beyond this size is moved to ``log.1`` and starts anew; at most two such files are kept."""
LINE_LIMIT = 160
_TAIL_BYTES = 4096
_NOISE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def last_line(log: Path) -> str:
    """The last line with anything in it, without control characters, shortened for a status message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""
    lines = [_NOISE.sub("", line).strip() for line in re.split(r"[\r\n]+", tail)]
    line = next((line for line in reversed(lines) if line), "")
    return line if len(line) <= LINE_LIMIT else line[: LINE_LIMIT - 1] + "…"


def keep_small(log: Path, cap: int = CAP_BYTES) -> bool:
    """Start a log that outgrew its cap anew; True when it did.

    The instance holds the file open and appends, so its content moves, not the file. Lines written between copying
    and truncating are lost, as with every logrotate that copies.
    """
    try:
        if log.stat().st_size <= cap:
            return False
        with log.open("r+b") as file, log.with_name("log.1").open("wb") as older:
            file.seek(-cap, os.SEEK_END)
            while chunk := file.read(1 << 20):
                older.write(chunk)
            file.truncate(0)
    except FileNotFoundError:
        return False
    return True
