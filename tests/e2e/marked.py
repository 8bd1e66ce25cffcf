"""Processes that have a variable in their environment: looked for in its bytes, since most of a host's have none."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

_LOOKS = 5


def carrying(name: str) -> Iterator[tuple[psutil.Process, Mapping[str, str]]]:
    """Each that lives and has it, with its whole environment."""
    mark = f"\0{name}=".encode()
    for pid in psutil.pids():
        content = _environment(pid)
        if mark in b"\0" + content:
            parts = content.decode(errors="surrogateescape").split("\0")
            with suppress(psutil.NoSuchProcess):
                yield psutil.Process(pid), dict(part.split("=", 1) for part in parts if "=" in part)


def _environment(pid: int) -> bytes:
    if sys.platform != "linux":
        with suppress(psutil.Error, OSError):
            return "\0".join(f"{name}={value}" for name, value in psutil.Process(pid).environ().items()).encode()
        return b""
    about = Path("/proc", str(pid))
    # A process that is just becoming another program shows no environment for some microseconds.
    with suppress(OSError):
        for _ in range(_LOOKS):
            if content := (about / "environ").read_bytes():
                return content
            if (about / "statm").read_bytes().startswith(b"0 "):
                break  # it is a zombie, or the kernel's, and has none
            time.sleep(0.001)
    return b""
