"""Since when a remote is in its stage: what the backend tells, held to what the controller has seen."""

import pytest

from controller.core.stages import Sighting, Stage
from tests.core.builders import at

BUILDING, RUNNING, SLEEPING, UNKNOWN = Stage.BUILDING, Stage.RUNNING, Stage.SLEEPING, Stage.UNKNOWN


def looks(*seen: tuple[Stage, float]) -> Sighting:
    """What was seen, and when."""
    sighting = None
    for stage, seconds in seen:
        sighting = Sighting.after(sighting, stage, at(seconds))
    assert sighting is not None
    return sighting


@pytest.mark.parametrize(
    ("seen", "told", "since"),
    [
        ([(RUNNING, 0)], None, 0),
        ([(RUNNING, 0), (RUNNING, 9)], None, 0),
        ([(RUNNING, 0)], -60, -60),
        ([(RUNNING, 0)], 60, 0),
        ([(BUILDING, 0), (RUNNING, 30)], 20, 20),
        ([(BUILDING, 0), (BUILDING, 25), (RUNNING, 30)], 20, 25),
        ([(RUNNING, 0), (SLEEPING, 600), (SLEEPING, 900), (RUNNING, 930)], 0, 900),
        ([(BUILDING, 0), (UNKNOWN, 30), (BUILDING, 60)], None, 0),
        ([(BUILDING, 0), (UNKNOWN, 30), (RUNNING, 60)], None, 60),
    ],
    ids=[
        "when it was first seen so",
        "and not when it was last",
        "when the backend says, who was there before",
        "but not in a future that is another clock's",
        "between two looks the backend knows best",
        "but it was not there yet when it was seen elsewhere",
        "so one that woke is not as old as its deployment",
        "nothing begins anew because nothing was known for a while",
        "and what came of it began when it was seen",
    ],
)
def test_a_stage_began(seen: list[tuple[Stage, float]], told: float | None, since: float) -> None:
    assert looks(*seen).since(None if told is None else at(told)) == at(since)


def test_what_is_not_understood_is_no_sighting() -> None:
    assert Sighting.after(None, UNKNOWN, at(0)) is None
