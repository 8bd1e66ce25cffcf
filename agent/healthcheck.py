"""Asks the instance in this container whether it is ready: exit status 0 if so, else 1, with one line that says why."""

from __future__ import annotations

import http.client
import json
import os
import sys

_DEADLINE_SECONDS = 4.0
_LARGEST_ANSWER = 64 * 1024


def check(port: str) -> tuple[bool, str]:
    """Whether the instance on that port is ready, and a line about it."""
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= 65535):
        return False, f"PORT={port!r} is not a port"
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=_DEADLINE_SECONDS)
    try:
        connection.request("GET", "/pool/health")
        response = connection.getresponse()
        content = response.read(_LARGEST_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        return False, f"nothing answers on port {port}: {type(error).__name__}"
    finally:
        connection.close()
    return judge(port, response.status, content)


def judge(port: str, status: int, content: bytes) -> tuple[bool, str]:
    """Whether an answer means ready, and a line about it."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return False, f"port {port} answered {status} with something that is no JSON"
    if status == 200 and isinstance(told, dict) and told.get("ready") is True:
        return True, "ready"
    return False, f"not ready ({status})"


def main() -> None:
    """Print the line and exit."""
    ready, line = check(os.environ.get("PORT", "").strip() or "8080")
    sys.stdout.write(f"{line}\n")
    sys.exit(0 if ready else 1)


if __name__ == "__main__":
    main()
