"""Stages: how far a backend has come with a remote, and since when."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class Stage(StrEnum):
    """How far a backend has come with a remote that has not ended."""

    BUILDING = "Building"
    DEPLOYING = "Deploying"
    RUNNING = "Running"
    SLEEPING = "Sleeping"
    UNKNOWN = "Unknown"
    """The backend says something that is not understood: what was known before stands."""


UNFINISHED = frozenset({Stage.BUILDING, Stage.DEPLOYING})
"""There is no program yet that could answer, or another one is about to take its place."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What this controller has itself seen of a remote's stage: it holds the backend's dates to it.

    A backend's clock may be wrong, and it may date a stage by something older: a service that woke a moment ago by the
    deployment that it slept in.
    """

    stage: Stage
    first: datetime
    """When it was first seen in this stage."""
    last: datetime
    """When it was last seen in it."""
    not_before: datetime | None = None
    """When it was last seen in another stage, if it ever was."""

    @classmethod
    def after(cls, before: "Sighting | None", stage: Stage, now: datetime) -> "Sighting | None":
        """One more look at it. An unknown stage teaches nothing."""
        if stage is Stage.UNKNOWN:
            return before
        if before is None or before.stage is not stage:
            return cls(stage, now, now, before.last if before is not None else None)
        return replace(before, last=now)

    def since(self, told: datetime | None) -> datetime:
        """When the stage began: as the backend tells, if it tells, within what was seen."""
        began = self.first if told is None else min(told, self.first)
        return began if self.not_before is None else max(began, self.not_before)
