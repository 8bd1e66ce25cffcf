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

    def __init__(self, name: str, trouble: Trouble, sentence: str, *, times: int = 2, quick: bool = False) -> None:
        # A claim that fails with three instances in a row is given up, rightly: so it happens twice.
        self.name, self.sentence, self.quick = name, sentence, quick
        self._trouble, self._times = trouble, times

    def prepare(self, plan: Plan) -> None:
        command = [sys.executable, "-m", "tests.faults.unruly", str(_folder(plan))]
        plan.pool |= {
            "template": {"command": command, "env": [{"name": "PYTHONPATH", "value": str(_ROOT)}]},
            "claims": {"provisionTimeoutSeconds": _PATIENCE},
            "health": {"intervalSeconds": 1, "timeoutSeconds": 1},
        }

    def strike(self, stage: Stage, dice: random.Random) -> None:
        _troubles(stage).order(self._trouble, self._times)

    def heal(self, stage: Stage) -> None:
        _troubles(stage).cancel()

    def lingers(self, stage: Stage) -> bool:
        return not self._trouble.everywhere and not self.struck(stage)

    def struck(self, stage: Stage) -> bool:
        return _troubles(stage).taken > 0


def _folder(plan: Plan) -> Path:
    return plan.folder / "troubles"


def _troubles(stage: Stage) -> Troubles:
    return Troubles(_folder(stage.plan))


RUNTIME_FAULTS: tuple[Fault, ...] = (
    _Unruly("a provision that hangs", Trouble.HANG, "a provision is never answered, and never carried out", quick=True),
    _Unruly(
        "a provision answered too late",
        Trouble.LATE,
        "a provision is carried out, and answered only after its deadline",
        quick=True,
    ),
    _Unruly("a provision answered by HTML", Trouble.HTML, "a provision is answered by an HTML page with 200"),
    _Unruly("a provision answered by 401", Trouble.UNAUTHORIZED, "a provision is answered by 401"),
    _Unruly("a provision answered by 500", Trouble.ERROR, "a provision is carried out, and answered by 500"),
    _Unruly("a provision cut short", Trouble.TRUNCATED, "a provision is carried out, and its JSON ends in the middle"),
    _Unruly(
        "a provision answered without end", Trouble.HUGE, "a provision is carried out, and its answer does not end"
    ),
    _Unruly(
        "a provision answered byte by byte",
        Trouble.DRIP,
        "a provision is carried out, and its answer comes byte by byte for ever",
    ),
    _Unruly("death before a provision", Trouble.DIE_BEFORE, "the whole instance dies when it is asked to provision"),
    _Unruly(
        "death after a provision",
        Trouble.DIE_AFTER,
        "the whole instance dies after it provisioned, before it answers",
        quick=True,
    ),
    _Unruly(
        "death of the agent behind its port",
        Trouble.AGENT_DIES,
        "the agent dies when it is asked to provision, and its port goes on to listen",
    ),
    _Unruly(
        "runtimes that answer HTML",
        Trouble.PAGE_EVERYWHERE,
        "every request, a probe too, is answered by an HTML page",
        times=1000,
    ),
    _Unruly(
        "runtimes that answer nothing",
        Trouble.SILENT_EVERYWHERE,
        "no request, a probe neither, is ever answered",
        times=1000,
    ),
)
