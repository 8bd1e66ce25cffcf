"""A short selection of the suite of faults, with a fixed seed; ``make faults`` is all of it.

Of these ``make test`` strikes with one for each peer, and with the rest when it is thorough.
"""

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault
from tests.faults.run import World, run
from tests.thorough import THOROUGH

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

SEED = 20261127
BRIEF = ("killed again and again", "a bad day", "a bad day of Postgres", "a bad day of runtimes", "the disk is full")
CHOSEN = [fault for fault in FAULTS if fault.quick and (THOROUGH or fault.name in BRIEF)]


@pytest.mark.parametrize("fault", CHOSEN, ids=lambda fault: str(fault.name))
def test_nothing_is_lost_doubled_or_left_when_there_is(fault: Fault, world: World) -> None:
    if lack := fault.lacks(world.server):
        pytest.skip(lack)
    run(world, fault, SEED)
