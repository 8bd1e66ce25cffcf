"""What this process may do, and which programs this host has, as far as an engine of one's own needs them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


def why_not_allowed() -> str | None:
    """Why this process cannot run an engine of its own, whatever is installed; None if it can."""
    if not sys.platform.startswith("linux"):
        return "a private Docker engine runs on Linux only"
    if os.geteuid() != 0:
        return "a private Docker engine needs root"
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    held = int(status.partition("CapEff:")[2].split()[0], 16)
    lacking = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    return f"a private Docker engine needs the capabilities {', '.join(lacking)}" if lacking else None


def search_path() -> str:
    """Where programs are looked for: on PATH, and where root's are."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def program_path(name: str) -> str | None:
    """Where a program is; None if this host lacks it."""
    return shutil.which(name, path=search_path())
