"""The whole controller against users, broken machines, lost answers, deaths and silence, one seed after the other."""

import os
from random import Random

import pytest

from tests.simulation.users import climate, habits, live, manners
from tests.simulation.world import Broken, World, tell

SEEDS = int(os.environ.get("AGENTPOOL_SIMULATION_SEEDS", "60"))
FIRST = int(os.environ.get("AGENTPOOL_SIMULATION_FIRST_SEED", "0"))
SECONDS = 120.0


def simulate(seed: int) -> World:
    random = Random(f"nature {seed}")
    nature = {"climate": climate(random), "manners": manners(random), "habits": habits(random)}
    try:
        return tell(lambda world: live(world, seed, SECONDS), seed, **nature)
    except Broken as error:
        raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_whatever_happens_nothing_is_given_twice_and_rest_is_reached(seed: int) -> None:
    simulate(seed)
