"""What agents do on a bad day: a proxy in front of each real one does it (``unruly.py``)."""

import random
import sys
from pathlib import Path

from tests.faults.fault import RUNTIME, Fault
from tests.faults.runtime_trouble import Trouble, Troubles
from tests.faults.stage import Plan, Stage

_ROOT = Path(__file__).parents[2]
_PATIENCE = 2
"""Seconds that a pool gives an instance to take up its conversation."""


class _Unruly(Fault):
    """Some requests to instances go wrong, whichever instances they go to."""

    peer = RUNTIME
    lasts = 2.0

    def __init__(self, name: str, sentence: str, *troubles: Trouble, times: int = 2, quick: bool = False) -> None:
        # A claim that fails with three instances in a row is given up, rightly: so it happens twice.
        self.name, self.sentence, self.quick = name, sentence, quick
        self._troubles, self._times = troubles, times
        # Later on there are not enough provisions for several.
        self.at = 1 if len(troubles) > 1 else None

    def prepare(self, plan: Plan) -> None:
        command = [sys.executable, "-m", "tests.faults.unruly", str(_folder(plan))]
        plan.pool |= {
            "template": {"command": command, "env": [{"name": "PYTHONPATH", "value": str(_ROOT)}]},
            "claims": {"provisionTimeoutSeconds": _PATIENCE},
            "health": {"intervalSeconds": 1, "timeoutSeconds": 1},
            # Instances that die young count as failed launches: a run need not wait for a minute.
            "circuitBreaker": {"openSeconds": 1},
        }

    def strike(self, stage: Stage, dice: random.Random) -> None:
        for trouble in self._troubles:
            _troubles(stage).order(trouble, self._times)

    def heal(self, stage: Stage) -> None:
        _troubles(stage).cancel()

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage)

    def struck(self, stage: Stage) -> bool:
        everywhere = any(trouble.everywhere for trouble in self._troubles)
        return _troubles(stage).taken >= (1 if everywhere else len(self._troubles))


def _folder(plan: Plan) -> Path:
    return plan.folder / "troubles"


def _troubles(stage: Stage) -> Troubles:
    return Troubles(_folder(stage.plan))


RUNTIME_FAULTS: tuple[Fault, ...] = (
    _Unruly(
        "a bad day of runtimes",
        "of four provisions one is answered too late, one cut short, one by 500, and one is the death of its instance",
        Trouble.LATE,
        Trouble.TRUNCATED,
        Trouble.ERROR,
        Trouble.DIE_AFTER,
        times=1,
        quick=True,
    ),
    _Unruly("a provision that hangs", "a provision is never answered, and never carried out", Trouble.HANG),
    _Unruly(
        "a provision answered too late",
        "a provision is carried out, and answered only after its deadline",
        Trouble.LATE,
    ),
    _Unruly("a provision answered by HTML", "a provision is answered by an HTML page with 200", Trouble.HTML),
    _Unruly("a provision answered by 401", "a provision is answered by 401", Trouble.UNAUTHORIZED),
    _Unruly("a provision answered by 500", "a provision is carried out, and answered by 500", Trouble.ERROR),
    _Unruly("a provision cut short", "a provision is carried out, and its JSON ends in the middle", Trouble.TRUNCATED),
    _Unruly(
        "a provision answered without end", "a provision is carried out, and its answer does not end", Trouble.HUGE
    ),
    _Unruly(
        "a provision answered byte by byte",
        "a provision is carried out, and its answer comes byte by byte for ever",
        Trouble.DRIP,
    ),
    _Unruly("death before a provision", "the whole instance dies when it is asked to provision", Trouble.DIE_BEFORE),
    _Unruly(
        "death after a provision",
        "the whole instance dies after it provisioned, before it answers",
        Trouble.DIE_AFTER,
    ),
    _Unruly(
        "death of the agent behind its port",
        "the agent dies when it is asked to provision, and its port goes on to listen",
        Trouble.AGENT_DIES,
    ),
    _Unruly(
        "runtimes that answer HTML",
        "every request, a probe too, is answered by an HTML page",
        Trouble.PAGE_EVERYWHERE,
        times=1000,
    ),
    _Unruly(
        "runtimes that answer nothing",
        "no request, a probe neither, is ever answered",
        Trouble.SILENT_EVERYWHERE,
        times=1000,
    ),
)
