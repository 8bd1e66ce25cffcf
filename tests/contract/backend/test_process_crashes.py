"""kill -9 of the controller, at whatever moment, never makes two processes of one instance, nor loses one."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("operation", "stride", "deaths"),
    [("launch", 14, 10), ("terminate", 28, 10), ("burst", 0, 6)],
    ids=["at the lines of a launch", "at the lines of an end", "at any time of a burst of launches"],
)
async def test_a_controller_that_is_killed_leaves_what_its_successor_can_use(
    tmp_path: Path, operation: str, stride: int, deaths: int
) -> None:
    arguments = ["-m", "tests.contract.backend.doomed_controller", operation, f"{tmp_path}/instances", "7", str(stride)]
    script = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await script.communicate()

    assert script.returncode == 0
    report = json.loads(output)
    assert report["problems"] == []
    assert report["deaths"] >= deaths
