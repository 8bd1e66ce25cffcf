"""A short selection of the suite of faults, with a fixed seed; ``make faults`` is all of it."""

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault
from tests.faults.run import World, run

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

SEED = 20261127


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.quick], ids=lambda fault: str(fault.name))
def test_nothing_is_lost_doubled_or_left_when_there_is(fault: Fault, world: World) -> None:
    if lack := fault.lacks(world.server):
        pytest.skip(lack)
    run(world, fault, SEED)
