"""docs/reliability.md: what the suite of faults does, by hand, and what came of its last run, by the run itself."""

import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

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
- No claim is lost: each has its agent, or says why it ended.
- Once everything was given back no process, no home of an instance, no Secret and no object is left.
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
`make test` has a short selection.
"""


@dataclass(frozen=True)
class Outcome:
    """What came of one run."""

    seed: int
    well: bool


@dataclass
class _Row:
    fault: Fault
    outcomes: list[Outcome] = field(default_factory=list)
    lack: str = ""

    def cells(self) -> tuple[str, str, str, str]:
        told = f"**{self.fault.name}**: {self.fault.sentence}"
        if self.lack:
            return self.fault.peer, told, "0", f"not run: {self.lack}"
        failed = [str(outcome.seed) for outcome in self.outcomes if not outcome.well]
        outcome = f"FAILED with seed {', '.join(failed)}" if failed else "all held"
        return self.fault.peer, told, str(len(self.outcomes)), outcome


class Report:
    """Collects outcomes."""

    def __init__(self, server: str, seeds: range) -> None:
        self._server, self._seeds = server, seeds
        self._rows: dict[str, _Row] = {}

    @property
    def failed(self) -> int:
        return sum(not outcome.well for row in self._rows.values() for outcome in row.outcomes)

    def add(self, fault: Fault, outcome: Outcome) -> None:
        self._rows.setdefault(fault.name, _Row(fault)).outcomes.append(outcome)

    def leave_out(self, fault: Fault, why: str) -> None:
        self._rows[fault.name] = _Row(fault, lack=why)

    def summary(self) -> str:
        """One line."""
        runs = sum(len(row.outcomes) for row in self._rows.values())
        return f"{runs} runs of {len(self._rows)} faults on the {self._server} API server, {self.failed} failed"

    def write(self, page: Path) -> None:
        """The whole page."""
        lines = ["| peer | fault | runs | outcome |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(row.cells())} |" for row in self._rows.values()]
        when = datetime.now(UTC).date().isoformat()
        where = f"{platform.system()}, Python {platform.python_version()}"
        seeds = f"seeds {self._seeds.start} to {self._seeds.stop - 1}"
        told = f"## The last run\n\n{when}, {self.summary()}; {seeds}; {where}.\n"
        page.write_text(f"{INTRODUCTION}\n{told}\n{chr(10).join(lines)}\n", encoding="utf-8")
