"""The demo on a Docker engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.api import Engine

ROOT = Path(__file__).parents[2]
DEADLINE = 240.0

pytestmark = pytest.mark.slow


def demo(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "controller.demo", "--backend", "docker", "--no-kubectl", "--data-dir", folder, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout


def test_it_runs_to_its_end_with_containers(
    docker_host: str, docker_engine: Engine, agent_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host)
    folder = tmp_path / "demo-on-docker"
    code, told = demo(folder, "--image", agent_image)
    assert code == 0, told
    for step in (
        rf"instances are containers of {agent_image} on Docker \d+",
        r"pool assistants is warm",
        r"Bound \d+ ms after the POST",
        r"assistants-tokyo-trip-planner-\w+ +Up",
        r"was destroyed with its claim",
        r"stopped: no process, container or volume is left",
    ):
        assert re.search(step, told), f"{step} is missing in:\n{told}"
    filters = f'{{"label":["agentpool-demo={folder.name}"]}}'
    assert docker_engine.get("/containers/json", all="true", filters=filters) == []


def test_without_an_engine_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    code, told = demo(tmp_path / "demo")
    assert code == 1
    last = told.splitlines()[-1]
    assert "see that an engine answers at unix://" in last or "there is no docker command" in last
    assert "Traceback" not in told
