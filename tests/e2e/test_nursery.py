"""What the nursery forks is the same program as one that is started anew, as far as a test can tell."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import EXECUTABLE, LIGHT
from tests.e2e.nursery import Forked, Nursery
from tests.e2e.waiting import DEADLINE


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery({**os.environ, **LIGHT})
    yield nursery
    nursery.end()


def forked(nursery: Nursery, output: Path, *words: str, **env: str) -> Forked:
    with output.open("ab") as file:
        where = (output.parent, file.fileno(), file.fileno())
        return nursery.start([str(EXECUTABLE), *words], {**os.environ, **LIGHT, **env}, *where)


@pytest.mark.parametrize(
    "words",
    [("--help",), ("nonsense",), ("ledger", "claims"), ("ledger", "claims", "--day", "never")],
    ids=["help", "no such command", "misconfigured", "no such date"],
)
def test_it_says_the_same_and_ends_the_same(nursery: Nursery, tmp_path: Path, words: tuple[str, ...]) -> None:
    anew = subprocess.run(
        [str(EXECUTABLE), *words], env={**os.environ, **LIGHT}, stdout=-1, stderr=-2, text=True, check=False
    )
    process = forked(nursery, tmp_path / "said", *words)
    assert process.wait(DEADLINE) == anew.returncode
    assert (tmp_path / "said").read_text() == anew.stdout


def test_its_end_by_a_signal_is_told_as_that_of_a_child(nursery: Nursery, tmp_path: Path) -> None:
    process = forked(nursery, tmp_path / "said", "standalone", "--data-dir", str(tmp_path / "data"))
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(DEADLINE) == process.poll() == -signal.SIGKILL
    process.terminate()  # which strikes nobody any more


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process holds")
def test_it_holds_open_nothing_of_the_nurserys_or_of_its_siblings(nursery: Nursery, tmp_path: Path) -> None:
    words = ("standalone", "--data-dir")
    first = forked(nursery, tmp_path / "first", *words, str(tmp_path / "1"))
    second = forked(nursery, tmp_path / "second", *words, str(tmp_path / "2"))
    try:
        files = Path("/proc", str(second.pid), "fd")
        held = {str(file.readlink()) for file in files.iterdir() if file.is_symlink()}
        assert str(tmp_path / "second") in held
        assert str(tmp_path / "first") not in held
    finally:
        for process in (first, second):
            process.kill()
            process.wait(DEADLINE)


def test_it_ends_when_nobody_can_ask_it_any_more() -> None:
    nursery = Nursery({**os.environ, **LIGHT})
    nursery.end()
    assert nursery.process.returncode == 0
