"""The summary of what was skipped."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_skips_are_counted_by_reason(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(3))\n"
        "def test_many(number): pytest.skip('no Docker engine')\n"
        "@pytest.mark.skip(reason='no Postgres')\n"
        "def test_one(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.tooling.skips", "-r", "fE", "--rootdir", str(tmp_path)]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "    3 tests: no Docker engine\n    1 test: no Postgres\n" in done.stdout
