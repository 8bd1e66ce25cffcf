"""What may not be in any file of the project."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REGISTRIES = r"pypi\.(org|python)|python[h]osted|npmjs\.|yarnpkg\.|crates\.io|proxy\.golang|rubygems\.|deb\.debian"
MACHINE = r"(?<![\w.$}-])/(work|root|Users)/[\w.]"
BESIDE = r"\.\./shared"


def mentions(pattern: str, *, besides: tuple[str, ...] = ()) -> list[str]:
    """Where the pattern occurs: ``path:line``."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the files of the project are listed by git: this is no clone, or git is not installed")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name and not name.startswith(besides)]
    found = []
    for path in paths:
        if not path.is_file():
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [
            f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, 1) if re.search(pattern, line)
        ]
    return found


def test_no_file_names_a_host_of_a_package_registry() -> None:
    assert mentions(REGISTRIES) == []


def test_no_file_holds_an_absolute_path_of_some_machine() -> None:
    assert mentions(MACHINE) == []


def test_only_the_ci_script_and_the_docs_know_of_what_lies_beside_the_project() -> None:
    assert mentions(BESIDE, besides=(".ci/", "docs/", "tests/tooling/")) == []


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        pytest.param(REGISTRIES, "--index-url https://py" + "pi.org/simple", id="an index"),
        pytest.param(REGISTRIES, "https://files.python" + "hosted.org/packages/x.whl", id="a file"),
        pytest.param(MACHINE, "cd /wor" + "k/main", id="a path in a command"),
        pytest.param(MACHINE, 'PATH = "/roo' + 't/.venv/bin"', id="a path in a string"),
        pytest.param(BESIDE, "../sha" + "red/envtest", id="a neighbour"),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: str, line: str) -> None:
    assert re.search(pattern, line)
