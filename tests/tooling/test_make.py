"""The Makefile, run by make itself."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z]+):(?!=)", MAKEFILE, re.MULTILINE)
SENTENCES = {
    "old": ("import sys", "Python 3.9.2, but 3.11 or later is needed"),
    "without venv": ("import ensurepip", "apt-get install python3-venv"),
}


def make(*words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    # This may itself run under make.
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    }
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """What make install reads, and no .venv."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_help_is_what_make_does_by_default() -> None:
    assert make().stdout == make("help").stdout


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_one_line_of_help(target: str) -> None:
    lines = [line for line in make("help").stdout.splitlines() if line.split()[:2] == ["make", target]]
    assert len(lines) == 1
    assert len(lines[0].split()) > 3


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_parses_and_is_no_file(target: str) -> None:
    done = make("--dry-run", target)
    assert (done.returncode, done.stderr) == (0, "")
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert target in phony[1].split()


def test_install_does_nothing_while_the_stamp_is_newer_than_its_sources(fresh: Path) -> None:
    stamp = fresh / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    assert "pip install" not in make("--dry-run", "install", folder=fresh).stdout
    later = stamp.stat().st_mtime + 10
    os.utime(fresh / "requirements.lock", (later, later))
    assert "pip install" in make("--dry-run", "install", folder=fresh).stdout


def test_install_without_python_says_so_in_one_line(fresh: Path) -> None:
    done = make("install", "PYTHON=no-such-python", folder=fresh)
    assert done.returncode != 0
    assert "make: there is no no-such-python: install Python 3.11 or later" in done.stderr
    assert not (fresh / ".venv").exists()


@pytest.mark.parametrize("lack", SENTENCES)
def test_install_with_a_python_that_will_not_do_says_what_to_do(fresh: Path, lack: str) -> None:
    failing, sentence = SENTENCES[lack]
    python = fresh / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in --version) echo Python 3.9.2 ;; *"{failing}"*) exit 1 ;; *) exit 0 ;; esac\n'
    )
    python.chmod(0o755)
    done = make("install", f"PYTHON={python}", folder=fresh)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert len([line for line in done.stderr.splitlines() if "***" not in line]) == 1
    assert not (fresh / ".venv").exists()
