"""When a gateway that ended is started again: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A clean exit stops, a crash restarts after a pause, and a row of short-lived crashes gives up."""

    pause_seconds: float = 2.0
    short_run_seconds: float = 30.0
    short_crashes_limit: int = 5


@dataclass(frozen=True, slots=True)
class Stop:
    """The gateway ended by itself with status 0: nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after this many seconds; the count of short crashes goes with it."""

    after_seconds: float
    short_crashes: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It crashed too often too soon."""

    short_crashes: int


def after_exit(
    exit_code: int, ran_seconds: float, short_crashes: int, policy: RestartPolicy
) -> Stop | Restart | GiveUp:
    """Decide what follows an exit; short_crashes counts the unbroken row of short-lived crashes before it."""
    if exit_code == 0:
        return Stop()
    row = short_crashes + 1 if ran_seconds < policy.short_run_seconds else 0
    if row >= policy.short_crashes_limit:
        return GiveUp(short_crashes=row)
    return Restart(after_seconds=policy.pause_seconds, short_crashes=row)
