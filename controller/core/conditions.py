"""Conditions: one assertion each, whose transition time moves only when its status does."""

from datetime import datetime
from typing import Literal

from controller.model import Condition, condition_of


def assert_condition(
    before: tuple[Condition, ...],
    kind: str,
    holds: bool | None,
    reason: str,
    message: str,
    now: datetime,
    generation: int | None = None,
) -> Condition:
    """The condition as it should be now, keeping the time of the last transition where the status did not change."""
    status: Literal["True", "False", "Unknown"] = "Unknown" if holds is None else "True" if holds else "False"
    old = condition_of(before, kind)
    since = old.last_transition_time if old is not None and old.status == status else now
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )
