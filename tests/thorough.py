"""How much is enough: ``make test`` looks briefly where it repeats itself, ``make test THOROUGH=1`` and CI look longer.

Whatever is told apart here is one story over and over, with other dice: each kind of story is told either way. And a
brief look has programs that are forks of one that has imported them (``e2e/nursery.py``), a longer one starts them all.
"""

import os

THOROUGH = os.environ.get("AGENTPOOL_TEST_THOROUGH", "") not in {"", "0"}


def times(brief: int, thorough: int) -> int:
    """How often something is done."""
    return thorough if THOROUGH else brief
