"""Several faults one after the other in one run: for ``make test``, and for what one of them does to the next."""

import random
import time
from collections.abc import Sequence

from tests.faults.api_faults import ANSWERS, REFUSALS, WATCHES
from tests.faults.fault import API_SERVER, Fault
from tests.faults.servers import ApiServer
from tests.faults.stage import Stage


class BadDay(Fault):
    """Each begins when the one before is over."""

    leaderless = True
    at = 1

    def __init__(self, name: str, sentence: str, peer: str, faults: Sequence[Fault], *, quick: bool = False) -> None:
        self.name, self.sentence, self.peer, self.quick = name, sentence, peer, quick
        self.lasts = faults[0].lasts
        self._faults = faults
        self._number = 0
        self._until = 0.0
        self._dice = random.Random()

    def lacks(self, server: ApiServer) -> str | None:
        return next((lack for fault in self._faults if (lack := fault.lacks(server))), None)

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._number, self._dice = 0, dice
        self._begin(stage)

    def lingers(self, stage: Stage) -> bool:
        if time.monotonic() < self._until or self._now.lingers(stage):
            return True
        if self._number + 1 == len(self._faults):
            return False
        self._now.heal(stage)
        self._number += 1
        self._begin(stage)
        return True

    def heal(self, stage: Stage) -> None:
        self._now.heal(stage)

    def struck(self, stage: Stage) -> bool:
        return self._number + 1 == len(self._faults) and self._now.struck(stage)

    @property
    def _now(self) -> Fault:
        return self._faults[self._number]

    def _begin(self, stage: Stage) -> None:
        self._until = time.monotonic() + self._now.lasts
        self._now.strike(stage, self._dice)


_EACH = {fault.name: fault for fault in (*REFUSALS, *ANSWERS, *WATCHES)}

BAD_DAYS: tuple[Fault, ...] = (
    BadDay(
        "a bad day",
        "lost answers, a storm of 409, truncated answers, 410 in watches and a burst of 5xx, one after the other",
        API_SERVER,
        [
            _EACH[name]
            for name in ("lost answers", "a storm of 409", "truncated answers", "410 in a watch", "a burst of 5xx")
        ],
        quick=True,
    ),
)
