"""The whole controller against users, broken machines, lost answers, deaths and silence, one seed after the other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.story import simulate
from tests.thorough import times

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("AGENTPOOL_SIMULATION_SEEDS", times(10, 24)))
FIRST = int(os.environ.get("AGENTPOOL_SIMULATION_FIRST_SEED", "0"))
SECONDS = 120.0
DEADLY_SEED = 0
"""One in which controllers die."""


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_whatever_happens_nothing_is_given_twice_and_rest_is_reached(seed: int) -> None:
    simulate(seed, SECONDS)


def test_the_same_seed_takes_the_same_course() -> None:
    first, second = simulate(DEADLY_SEED, 60.0), simulate(DEADLY_SEED, 60.0)
    assert len(first.processes) > 1
    assert first.trace == second.trace


def test_the_same_seed_takes_the_same_course_in_another_interpreter() -> None:
    program = f"from tests.simulation.story import simulate; print(simulate({DEADLY_SEED}, 60.0).digest())"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_another_seed_takes_another_course() -> None:
    assert simulate(DEADLY_SEED, 10.0).digest() != simulate(DEADLY_SEED + 1, 10.0).digest()
