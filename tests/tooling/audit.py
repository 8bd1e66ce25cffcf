"""The pins of the lock files against the advisories that are known of them: `python -m tests.tooling.audit LOCK...`.

pip-audit asks the service OSV, or another one that answers as it does (AUDIT_URL). Where none can be reached, this says
so and passes, unless REQUIRE_AUDIT=1. What it found fails, unless an exception says why it may wait, and until when.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx

OSV = "https://api.osv.dev/v1/query"
EXCEPTIONS = Path(__file__).with_name("audit_exceptions.toml")
ANSWER_SECONDS = 5
_BROKE_OFF = ("requests.exceptions.", "pip_audit._service.interface.", "your network may be blocking")
"""What pip-audit says when the service fails it half-way."""


class UnmadeError(Exception):
    """The audit cannot be made now; the text says why."""


class FailedError(Exception):
    """There is something to be done; the text says what."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An advisory that concerns a pin."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        remedy = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "not fixed yet"
        return f"{self.package} {self.version}: {', '.join(self.ids)}, {remedy}"


def read_exceptions(path: Path, today: date) -> frozenset[str]:
    """The advisories that may wait; ``FailedError`` for one without a reason, or whose time is over."""
    entries: Iterable[Mapping[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8")).get("exception", [])
    for entry in entries:
        if not entry.get("id") or not str(entry.get("reason", "")).strip() or not isinstance(entry.get("until"), date):
            raise FailedError(f"{path.name}: every exception needs an id, a reason and a date until which it may wait")
        if entry["until"] < today:
            raise FailedError(f"{path.name}: the exception for {entry['id']} ended on {entry['until']}: mend it now")
    return frozenset(str(entry["id"]) for entry in entries)


def reach(url: str) -> None:
    """See that the service answers as OSV does; ``UnmadeError`` when it does not."""
    query = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "99999"}
    try:
        answer = httpx.post(url, json=query, timeout=ANSWER_SECONDS)
        if answer.status_code != 200 or not isinstance(answer.json(), dict):
            raise UnmadeError(f"the advisory service at {url} does not answer as OSV does (HTTP {answer.status_code})")
    except (httpx.HTTPError, ValueError) as error:
        raise UnmadeError(f"the advisory service at {url} cannot be reached ({type(error).__name__})") from None


def findings(lock: Path, url: str) -> list[Finding]:
    """What is known of the pins of a lock file."""
    words = [
        sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--require-hashes",
        "--vulnerability-service", "osv", "--osv-url", url, "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        told: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = next(iter(reversed(done.stderr.strip().splitlines())), "it said nothing")
        if any(sign in done.stderr for sign in _BROKE_OFF):
            raise UnmadeError(f"the advisory service at {url} broke off ({last})") from None
        raise FailedError(f"pip-audit could not read {lock}: {last}") from None
    if skipped := [each["name"] for each in told if "skip_reason" in each]:
        raise FailedError(f"{lock}: pip-audit left out {', '.join(skipped)}")
    return [
        Finding(each["name"], each["version"], (found["id"], *found["aliases"]), tuple(found["fix_versions"]))
        for each in told
        for found in each["vulns"]
    ]


def audit(locks: list[Path], exceptions: Path, url: str, remembered: Path, now: datetime) -> str:
    """Make the audit, once a day for the same pins, and say how it went."""
    waiting = read_exceptions(exceptions, now.date())
    state = hashlib.sha256(repr([*(path.read_bytes() for path in [*locks, exceptions]), url, now.date()]).encode())
    if remembered.is_file() and remembered.read_text(encoding="utf-8") == state.hexdigest():
        return "audit: nothing is known against the locked packages, as of today"
    reach(url)
    found = {str(each): each for lock in locks for each in findings(lock, url)}
    if bad := [text for text, each in found.items() if not waiting.intersection(each.ids)]:
        raise FailedError(
            "advisories concern locked packages: renew them with make lock, or say why that can wait in "
            f"{exceptions.name}\n  " + "\n  ".join(bad)
        )
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(state.hexdigest(), encoding="utf-8")
    excused = f", besides {len(found)} that may wait" if found else ""
    return f"audit: nothing is known against the locked packages{excused}"


def main(arguments: list[str] | None = None, now: datetime | None = None) -> int:
    """Say how it went: 0 when all is well or, unless it is required, the audit could not be made."""
    parser = argparse.ArgumentParser(description="Hold the pins of lock files against known advisories.")
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS, help="what may wait")
    parser.add_argument("--remember", type=Path, default=Path(".venv/.audited"), help="where a good outcome is kept")
    given = parser.parse_args(arguments)
    url = os.environ.get("AUDIT_URL") or OSV
    try:
        outcome = audit(given.locks, given.exceptions, url, given.remember, now or datetime.now(UTC))
    except FailedError as error:
        sys.stderr.write(f"audit: {error}\n")
        return 1
    except UnmadeError as error:
        required = os.environ.get("REQUIRE_AUDIT") == "1"
        sys.stderr.write(f"audit: NOT MADE: {error}{'' if required else '; REQUIRE_AUDIT=1 makes this an error'}\n")
        return 1 if required else 0
    sys.stdout.write(f"{outcome}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
