"""``make fuzz``: atheris on every target, guided by what of the code an input reaches.

One process each, forked off after everything was imported and instrumented. What breaks a target is put into its folder
of the corpus, where ``make test`` finds it from then on; what reaches new code is kept in .fuzz for the next time.
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import atheris

# A line for each module is no news.
with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["agent", "controller"]):
    from tests.fuzz.everything import all_targets
from tests.fuzz.target import CORPUS, TRAPS, Target

GROWN = Path(".fuzz")
LONGEST_INPUT = 4096
SLOWEST_SECONDS = 10
"""An input that takes longer counts as one that hangs."""
LARGEST_MEGABYTES = 2048


def options(target: Target, seconds: int, seed: int, folder: Path) -> list[str]:
    """The command line of libFuzzer, which knows of no other way to be told."""
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in (*target.words, *TRAPS) if len(word) < 64))
    seeds, grown, found = folder / "seeds", GROWN / target.name, CORPUS / target.name
    seeds.mkdir()
    for number, data in enumerate(target.known()):
        (seeds / str(number)).write_bytes(data)
    grown.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST_SECONDS}", f"-rss_limit_mb={LARGEST_MEGABYTES}"]
    return [
        sys.argv[0], *limits, f"-seed={seed}", f"-max_len={LONGEST_INPUT}", f"-dict={words}",
        f"-artifact_prefix={found}/", "-verbosity=0", "-print_final_stats=1", str(grown), str(seeds),
    ]  # fmt: skip


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def fuzz(target: Target, seconds: int, seed: int) -> bool:
    """Whether nothing broke it for so long."""
    sys.stdout.write(f"{target.name}: ")
    sys.stdout.flush()
    folder = Path(tempfile.mkdtemp())
    try:
        child = os.fork()
        if child == 0:
            _fuzz_here(target, seconds, seed, folder)
        _, status = os.waitpid(child, 0)
        report = (folder / "report").read_text(errors="replace")
    finally:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            (CORPUS / target.name).rmdir()  # where nothing was found
    runs = next((line.split()[-1] for line in report.splitlines() if "number_of_executed_units" in line), "some")
    sys.stdout.write(f"{runs} inputs, all well\n" if status == 0 else f"broken after {runs} inputs\n{report}\n")
    return status == 0


def _fuzz_here(target: Target, seconds: int, seed: int, folder: Path) -> NoReturn:
    try:
        report = os.open(folder / "report", os.O_WRONLY | os.O_CREAT)
        os.dup2(report, 1)
        os.dup2(report, 2)
        atheris.Setup(options(target, seconds, seed, folder), partial(_keeping_what_breaks, target))
        atheris.Fuzz()
    finally:
        # Reached only when something broke: what the parent has to tidy up is not for this process.
        sys.stderr.flush()
        os._exit(1)


def _keeping_what_breaks(target: Target, data: bytes) -> None:
    try:
        target.run(data)
    except Exception:
        (CORPUS / target.name / f"crash-{sha256(data).hexdigest()[:16]}").write_bytes(data)
        raise


def main() -> None:
    """Fuzz what was named, or all; exit with 1 when anything broke."""
    parser = argparse.ArgumentParser(description="Fuzz the parsers of bytes from outside.")
    parser.add_argument("--seconds", type=int, default=120, help="for all of them together")
    parser.add_argument(
        "--seed", type=int, default=0, help="of chance; the same one tries the same inputs [default: 0, any]"
    )
    parser.add_argument("targets", nargs="*", help="only these")
    given = parser.parse_args()
    chosen = [target for target in all_targets() if not given.targets or target.name in given.targets]
    if not chosen:
        parser.error(f"there is no such target: {', '.join(target.name for target in all_targets())}")
    seconds = max(1, given.seconds // len(chosen))
    broken = [target.name for target in chosen if not fuzz(target, seconds, given.seed)]
    sys.stdout.flush()
    if broken:
        sys.exit(f"broken: {', '.join(broken)}; the inputs are in {CORPUS.name}/, and make test runs them")


if __name__ == "__main__":
    main()
