"""The demo on Railway: on the twin that it starts itself, and in an environment that somebody names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.railway import TwinProcess

ROOT = Path(__file__).parents[2]
DEADLINE = 240.0
STEPS = (
    r"pool assistants is warm",
    r"Bound \d+ ms after the POST",
    r"tokyo-trip-pla-\S+ +SUCCESS",
    r"was destroyed with its claim",
    r"stopped: no process, service or volume is left",
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "PROJECT_ID", "ENVIRONMENT_ID", "API_URL", "EDGE_URL", "TOKEN_TYPE", "PLAN"):
        monkeypatch.delenv(f"RAILWAY_{name}", raising=False)


def demo(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "controller.demo", "--backend", "railway", "--no-kubectl", "--data-dir", folder, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout


def test_it_runs_to_its_end_on_a_twin_of_its_own(tmp_path: Path) -> None:
    code, told = demo(tmp_path / "demo")

    assert code == 0, told
    for step in ("instances are services of a twin of Railway", *STEPS):
        assert re.search(step, told), f"{step} is missing in:\n{told}"


def test_it_runs_to_its_end_in_an_environment_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TwinProcess() as twin:
        for name, value in {
            "TOKEN": twin.told["project_tokens"]["staging"],
            "PROJECT_ID": twin.told["project_id"],
            "ENVIRONMENT_ID": twin.told["environments"]["staging"],
            "API_URL": twin.told["url"],
            "EDGE_URL": twin.told["edge_url"],
            "PLAN": "Pro",
        }.items():
            monkeypatch.setenv(f"RAILWAY_{name}", value)
        code, told = demo(tmp_path / "demo", "--image", "registry.example/agents/agent:1")

        assert code == 0, told
        for step in ("instances are services of environment", *STEPS):
            assert re.search(step, told), f"{step} is missing in:\n{told}"
        assert twin.control.counts()["created"]
        assert twin.told["project_tokens"]["staging"] not in told


@pytest.mark.parametrize(
    ("given", "words", "remedy"),
    [
        ({"TOKEN": "t"}, (), "RAILWAY_PROJECT_ID and RAILWAY_ENVIRONMENT_ID must be set"),
        ({"TOKEN": "t", "PROJECT_ID": "p", "ENVIRONMENT_ID": "e"}, (), "name the agent image"),
    ],
    ids=["half of what it needs", "no image"],
)
def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], words: tuple[str, ...], remedy: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"RAILWAY_{name}", value)
    code, told = demo(tmp_path / "demo", *words)

    assert code == 1
    assert remedy in told.splitlines()[-1]
    assert "Traceback" not in told
