"""Fault switches of the loopback service, for tests: what a real gateway does on a bad day.

LOOPBACK_BOOT_SECONDS=n    listens only after n seconds
LOOPBACK_CRASH_AFTER=n     exits with status 1 after n seconds of serving
LOOPBACK_CREATE_SECONDS=n  a create or join takes n seconds before anything exists
LOOPBACK_ANSWER_SECONDS=n  a create or join answers n seconds after everything exists
LOOPBACK_FAIL_CREATE=1     a create or join fails with 500 after its identity was written: dirty
LOOPBACK_NO_PLUGIN=1       /convos/* does not exist, as when the plugin did not load
LOOPBACK_HTML_FALLBACK=1   unknown paths answer 200 with an HTML page, as OpenClaw's gateway does
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Faults:
    """The switches that are on; all off by default."""

    boot_seconds: float = 0.0
    crash_after_seconds: float | None = None
    create_seconds: float = 0.0
    answer_seconds: float = 0.0
    fail_create: bool = False
    no_plugin: bool = False
    html_fallback: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Faults:
        """Read the switches, or raise SettingsError."""
        return cls(
            boot_seconds=_seconds(environment, "LOOPBACK_BOOT_SECONDS") or 0.0,
            crash_after_seconds=_seconds(environment, "LOOPBACK_CRASH_AFTER"),
            create_seconds=_seconds(environment, "LOOPBACK_CREATE_SECONDS") or 0.0,
            answer_seconds=_seconds(environment, "LOOPBACK_ANSWER_SECONDS") or 0.0,
            fail_create=_switch(environment, "LOOPBACK_FAIL_CREATE"),
            no_plugin=_switch(environment, "LOOPBACK_NO_PLUGIN"),
            html_fallback=_switch(environment, "LOOPBACK_HTML_FALLBACK"),
        )


def _seconds(environment: Mapping[str, str], variable: str) -> float | None:
    text = environment.get(variable, "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise SettingsError(f"{variable}={text!r} is not a number of seconds between 0 and 86400.")
    return seconds


def _switch(environment: Mapping[str, str], variable: str) -> bool:
    match environment.get(variable, "").strip():
        case "" | "0":
            return False
        case "1":
            return True
        case other:
            raise SettingsError(f"{variable}={other!r} is not a switch: use 1 or 0.")
