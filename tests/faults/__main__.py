"""The long run: ``make faults SEED=n RUNS=n``. It tells how to repeat each run, and writes docs/reliability.md."""

import fnmatch
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from controller.demo.postgres import LackingError, PrivatePostgres
from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault
from tests.faults.report import Outcome, Report
from tests.faults.run import World, run
from tests.faults.servers import serving

log = logging.getLogger("faults")


@click.command()
@click.option("--seed", type=int, default=20261127, show_default=True, help="For the first run of each fault.")
@click.option("--runs", type=int, default=1, show_default=True, help="Runs of each fault, with the seeds after it.")
@click.option(
    "--only",
    default="*",
    help="Patterns with commas between: 'killed*,410*'; quick: those of make test THOROUGH=1.",
)
@click.option("--page", type=click.Path(path_type=Path), help="Where to write the table; nowhere unless given.")
@click.option("--add", type=click.Path(path_type=Path), help="A file of outcomes: the table tells of those in it, too.")
def main(seed: int, runs: int, only: str, page: Path | None, add: Path | None) -> None:
    """Strike with every fault, several times over, and see that nothing is lost."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    chosen = [fault for fault in FAULTS if _fits(fault, only)]
    if not chosen:
        raise click.UsageError(f"no fault is called {only}: there are {', '.join(fault.name for fault in FAULTS)}")
    # So that whatever was started is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Short, since a socket is below it, and open to the user of Postgres.
    folder = Path(tempfile.mkdtemp(prefix="ap-"))
    folder.chmod(0o755)
    report = Report([Outcome.model_validate_json(line) for line in _lines(add)])
    try:
        with serving(folder) as server:
            world = World(server, _postgres(folder), folder / "runs")
            failed = sum(not outcome.well for outcome in _all(world, chosen, range(seed, seed + runs), report, add))
    except LackingError as error:
        raise click.ClickException(str(error)) from None
    finally:
        _remove(folder)
    log.info("%s", report.summary())
    if page is not None:
        page.write_text(report.page(FAULTS), encoding="utf-8")
    sys.exit(failed > 0)


def _fits(fault: Fault, only: str) -> bool:
    words = only.split(",")
    return ("quick" in words and fault.quick) or any(fnmatch.fnmatch(fault.name, word) for word in words)


def _all(world: World, faults: Sequence[Fault], seeds: range, report: Report, add: Path | None) -> Iterator[Outcome]:
    for fault in faults:
        if lack := fault.lacks(world.server):
            log.info("%-45s left out: %s", fault.name, lack)
            continue
        for seed in seeds:
            outcome = _one(world, fault, seed)
            report.add(outcome)
            if add is not None:
                with add.open("a", encoding="utf-8") as file:
                    file.write(outcome.model_dump_json() + "\n")
            yield outcome


def _one(world: World, fault: Fault, seed: int) -> Outcome:
    begin, well = time.monotonic(), False
    try:
        run(world, fault, seed)
        well = True
    except Exception as error:
        log.info("%s", "".join(traceback.format_exception(error)))
        log.info('repeat it with: make faults SEED=%d RUNS=1 ONLY="%s"', seed, fault.name)
    seconds = round(time.monotonic() - begin, 1)
    log.info("%-45s seed %d: %s, %.0f s", fault.name, seed, "all is well" if well else "FAILED", seconds)
    today = datetime.now(UTC).date()
    return Outcome(server=world.server.name, fault=fault.name, seed=seed, well=well, seconds=seconds, day=today)


def _lines(file: Path | None) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file is not None and file.exists() else []


def _postgres(folder: Path) -> str:
    if given := os.environ.get("DATABASE_URL"):
        return given
    server = PrivatePostgres(folder / "postgres")
    server.start()
    return server.url()


def _remove(folder: Path) -> None:
    PrivatePostgres(folder / "postgres").remove()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
