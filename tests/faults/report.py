"""docs/reliability.md: what the suite of faults does, by hand, and what came of its last run, by the run itself."""

import platform
from collections.abc import Sequence
from datetime import date

from pydantic import BaseModel, ConfigDict

from tests.faults.fault import Fault

INTRODUCTION = """\
# Reliability

What agentpool does when something around it, or the operator itself, fails: seen by doing it, not by arguing.

The suite of faults (`tests/faults/`) runs the whole program as processes, over an API server, Postgres and agents that
are real. A proxy stands in front of each, so that what goes wrong goes wrong at the same request each time. Every run
tells one story, from the creation of a pool to its deletion: claims come, one joins a conversation and one has to ask,
one is given back, one expires, an idle agent and a claimed one crash, the pool grows. Meanwhile one fault strikes.
After every run this is checked:

- No instance ever had two claims, and none opened two conversations; no claim was ever told of two.
- No claim is lost: each has its agent, or says why it ended. None is told anything before a finalizer is on it that
  holds it until its last record is in the ledger.
- Once everything was given back no process, no home of an instance, no Secret and no object is left. (A
  genuine API server alone collects no garbage: there the Secret of an instance that is gone may remain.)
- Every transition of every claim and instance is in the ledger exactly once, in the order in which it happened. What
  happened is read off a watch that goes around the proxy.
- Rest is reached: while every watch is open, nothing is written any more.
- No operator has told of a mistake of its own: no traceback, no repair of its view, no endless repetition.

    make faults                          every fault once
    make faults RUNS=10 SEED=7           ten times, with the seeds from 7 on
    make faults ONLY='killed*' SEED=7    those whose names fit the pattern

`AGENTPOOL_TEST_ENVTEST` names a folder with the scripts `start` and `stop` of a genuine API server, which is then
killed and frozen as well; `AGENTPOOL_TEST_KUBECONFIG` names one that is left alone; without either it is the
standalone one. A run that fails prints what the operator said, what it asked for, and the command that repeats it.
`make test` has a short selection, `make test THOROUGH=1` a longer one.
"""


class Outcome(BaseModel):
    """What came of one run."""

    model_config = ConfigDict(frozen=True)

    server: str
    fault: str
    seed: int
    well: bool
    seconds: float
    day: date


class Report:
    """Collects outcomes, those of earlier runs included that it is told of."""

    def __init__(self, outcomes: Sequence[Outcome] = ()) -> None:
        self._outcomes = list(outcomes)

    @property
    def failed(self) -> int:
        return sum(not outcome.well for outcome in self._outcomes)

    def add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)

    def summary(self) -> str:
        """One sentence."""
        faults = {outcome.fault for outcome in self._outcomes}
        where = " and the ".join(sorted({outcome.server for outcome in self._outcomes}))
        return f"{len(self._outcomes)} runs of {len(faults)} faults, on the {where} API server: {self.failed} failed"

    def page(self, faults: Sequence[Fault]) -> str:
        """The whole page."""
        days = sorted({outcome.day.isoformat() for outcome in self._outcomes})
        where = f"{platform.system()}, Python {platform.python_version()}"
        lines = [INTRODUCTION, "## What came of it", ""]
        lines += [f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, {where}. {self.summary()}.", ""]
        lines += ["| peer | fault | runs: standalone | genuine | outcome |", "| --- | --- | --- | --- | --- |"]
        lines += [self._row(fault) for fault in faults]
        return "\n".join(lines) + "\n"

    def _row(self, fault: Fault) -> str:
        mine = [outcome for outcome in self._outcomes if outcome.fault == fault.name]
        runs = [str(sum(outcome.server == server for outcome in mine)) for server in ("standalone", "genuine")]
        failed = [f"{outcome.seed} ({outcome.server})" for outcome in mine if not outcome.well]
        told = f"FAILED with seed {', '.join(failed)}" if failed else "all held" if mine else "not run"
        return f"| {fault.peer} | **{fault.name}**: {fault.sentence} | {runs[0]} | {runs[1]} | {told} |"
