"""The demo from its first line to its last, as a person runs it, and whatever may come in between."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 90.0

pytestmark = pytest.mark.slow


class Demo:
    """One run of it, with everything that it prints."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.output = folder.with_suffix(".out")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "controller.demo", "--data-dir", str(folder), *words],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def told(self) -> str:
        return self.output.read_text(encoding="utf-8")

    @property
    def last_line(self) -> str:
        return self.told.splitlines()[-1]

    def wait_for(self, words: str) -> None:
        end = time.monotonic() + DEADLINE
        while words not in self.told:
            assert self.process.poll() is None, self.told
            assert time.monotonic() < end, self.told
            time.sleep(0.02)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE)

    def standalone(self) -> psutil.Process:
        [process] = [process for process in self.processes() if "standalone" in process.cmdline()]
        return process

    def processes(self) -> list[psutil.Process]:
        """Every other process that knows the directory, from its command line or its environment."""
        return [process for process in psutil.process_iter() if process.pid != self.process.pid and self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            return any(str(self.folder) in text for text in [*process.cmdline(), *process.environ().values()])
        except psutil.Error:
            return False


Start = Callable[..., Demo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts demos, and sees in the end that nothing of them is left."""
    demos: list[Demo] = []

    def begin(*words: str) -> Demo:
        demos.append(Demo(tmp_path / f"demo{len(demos)}", *words))
        return demos[-1]

    yield begin
    for demo in demos:
        if demo.process.poll() is None:
            demo.process.terminate()
        demo.exit_code()
        left = demo.processes()
        for process in left:
            process.kill()
        assert left == [], demo.told


def assert_whole(told: str) -> None:
    """The story was told to its end, in order."""
    steps = [
        r"the ledger is in a Postgres \d+ of the demo's own",
        r"API server and operator are ready at https://127\.0\.0\.1:\d+",
        r"pool assistants is warm",
        r"Idle",
        r"Bound \d+ ms after the POST",
        r"invite URL: https://\S+",
        r"tokyo-trip +assistants +Bound",
        r"instance assistants-\w+ was destroyed",
        r"pool assistants: 3 of 3 idle",
        r"Idle",
        r"\$ agentpool ledger history tokyo-trip",
        r"AgentClaim +default +tokyo-trip +Bound +- +to instance assistants-",
        r"AgentClaim +default +tokyo-trip +Gone",
        r"stopped: no process is left",
    ]
    at = 0
    for step in steps:
        found = re.compile(step).search(told, at)
        assert found, f"{step} is missing or out of order in:\n{told}"
        at = found.end()


def test_it_runs_to_its_end_with_kubectl(start: Start) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    demo = start()
    assert demo.exit_code() == 0, demo.told
    assert_whole(demo.told)
    assert "$ kubectl get agentpools,agentinstances\n" in demo.told
    assert demo.processes() == []


def test_it_runs_to_its_end_without_kubectl(start: Start) -> None:
    demo = start("--no-kubectl")
    assert demo.exit_code() == 0, demo.told
    assert_whole(demo.told)
    assert "there is no kubectl" in demo.told
    assert demo.processes() == []


def test_two_demos_at_once_do_not_disturb_each_other(start: Start) -> None:
    demos = [start("--no-kubectl"), start("--no-kubectl")]
    assert [demo.exit_code() for demo in demos] == [0, 0], demos[0].told + demos[1].told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_it_ends_all_that_it_started(start: Start, number: signal.Signals) -> None:
    demo = start("--no-kubectl")
    demo.wait_for("starting\n")
    demo.process.send_signal(number)
    assert demo.exit_code() == 128 + number
    assert demo.last_line == "agentpool demo: interrupted; everything that it started has ended"
    assert demo.processes() == []


def test_when_the_system_dies_it_says_so_and_ends_the_instances(start: Start) -> None:
    demo = start("--no-kubectl")
    demo.wait_for("starting\n")
    demo.standalone().kill()
    assert demo.exit_code() == 1
    log = demo.folder / "standalone.log"
    assert re.fullmatch(rf"agentpool demo: .+; the log is {log}", demo.last_line)
    assert "ready" in log.read_text(encoding="utf-8")
    assert "Traceback" not in demo.told
    assert demo.processes() == []


def test_a_kubectl_that_fails_is_named_with_a_remedy(start: Start, tmp_path: Path) -> None:
    broken = tmp_path / "kubectl"
    broken.write_text("#!/bin/sh\necho 'no binary for this server' >&2\nexit 3\n")
    broken.chmod(0o755)
    demo = start("--kubectl", str(broken))
    assert demo.exit_code() == 1
    assert demo.last_line.startswith(
        "agentpool demo: kubectl apply failed with exit code 3 (no binary for this server): "
        "mend it, or leave it out with --no-kubectl; the log is "
    )
    assert demo.processes() == []


def test_a_directory_that_holds_something_is_left_alone(start: Start, tmp_path: Path) -> None:
    taken = tmp_path / "demo0"
    taken.mkdir()
    (taken / "objects.db").write_text("precious")
    demo = start()
    assert demo.exit_code() == 2
    assert "is not empty: name a directory that is, or that does not exist" in demo.told
    assert [path.name for path in taken.iterdir()] == ["objects.db"]


def test_settings_of_another_system_in_the_environment_do_not_reach_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTPOOL_NAMESPACES", "elsewhere")
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    demo = start()
    demo.wait_for("pool assistants is warm\n")
