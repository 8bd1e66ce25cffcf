"""Operators that are killed or frozen while they record: what they took arrives, each once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from controller.core.transitions import derive
from controller.ledger import LedgerOptions, open_ledger
from tests.core.builders import claim
from tests.ledger.conftest import Clock, at_work, eventually, keys_in, soon

_OPERATOR = """
import asyncio, itertools, sys
from datetime import UTC, datetime
from pathlib import Path
from controller.core.transitions import derive
from controller.ledger import LedgerOptions, open_ledger
from tests.core.builders import claim

async def main(url, spool, first):
    ledger = open_ledger(LedgerOptions(url, Path(spool)), lambda: datetime.now(UTC))
    running = asyncio.create_task(ledger.run())
    for number in itertools.count(int(first)):
        thing = claim(f"c{number}")
        ledger.record(derive(None, thing))
        ledger.record(derive(thing, None))
        print(number, flush=True)
        await asyncio.sleep(0.002)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def operator(url: str, spool: Path, first: int) -> Iterator["subprocess.Popen[str]"]:
    """One that records claims from that number on, two records each, and says after each that it took them."""
    command = [sys.executable, "-c", _OPERATOR, url, str(spool), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: "subprocess.Popen[str]", lines: int) -> int:
    """The last number of so many lines."""
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(lines)][-1]


def expected(last: int) -> set[tuple[str, str, str]]:
    return {(f"uid-c{number}", what, "") for number in range(last + 1) for what in ("Created", "Gone")}


async def test_killed_while_it_delivers_it_loses_and_doubles_nothing(
    options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    random, last = Random(11), -1
    for _ in range(3):
        with operator(ledger_url, options.spool, last + 1) as process:
            last = heard(process, random.randrange(20, 120))
            os.kill(process.pid, signal.SIGKILL)
            assert process.stdout is not None
            for line in process.stdout:
                last = int(line)
    async with at_work(open_ledger(replace(options, url=ledger_url), clock)) as ledger:
        await eventually(lambda: ledger.backlog.records == 0, "all of it is delivered")
        arrived = keys_in(ledger_url)
    assert len(arrived) == len(set(arrived))
    assert expected(last) <= set(arrived)


async def test_frozen_while_it_delivers_it_is_in_nobodys_way_and_doubles_nothing_when_it_goes_on(
    options: LedgerOptions, clock: Clock, ledger_url: str
) -> None:
    with operator(ledger_url, options.spool / "frozen", 0) as frozen:
        last = heard(frozen, 50)
        os.kill(frozen.pid, signal.SIGSTOP)
        successor = replace(options, url=ledger_url, spool=options.spool / "successor")
        async with at_work(open_ledger(successor, clock)) as ledger:
            for number in range(last + 20):
                thing = claim(f"c{number}")
                ledger.record(derive(None, thing))
                ledger.record(derive(thing, None))
            for number in range(last + 20):
                await soon(ledger.settled(f"uid-c{number}"))
            assert expected(last) <= set(keys_in(ledger_url))
        os.kill(frozen.pid, signal.SIGCONT)
        final = heard(frozen, 60)
        await eventually(lambda: expected(final) <= set(keys_in(ledger_url)), "the rest of the frozen one")
    arrived = keys_in(ledger_url)
    assert len(arrived) == len(set(arrived))
