"""kill -9 of the controller, at whatever moment, never makes two processes of one instance, nor loses one."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("operation", "deaths"),
    [("launch", 12), ("terminate", 12), ("burst", 8)],
    ids=["at the lines of a launch", "at the lines of an end", "at any time of a burst of launches"],
)
async def test_a_controller_that_is_killed_leaves_what_its_successor_can_use(
    tmp_path: Path, operation: str, deaths: int
) -> None:
    script = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "tests.contract.backend.doomed_controller",
            operation,
            tmp_path / "instances",
            "7",
            "6",
        ),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await script.communicate()

    assert script.returncode == 0
    report = json.loads(output)
    assert report["problems"] == []
    assert report["deaths"] >= deaths
