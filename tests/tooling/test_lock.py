"""requirements.lock against pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tooling.locks import read_pins

ROOT = Path(__file__).parents[2]


PINS = read_pins(ROOT / "requirements.lock")
LOCKS = ("requirements.lock", "agent/requirements.lock", "tests/fuzz/requirements.lock")


def required() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]


@pytest.mark.parametrize("requirement", required(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_to_a_version_that_pyproject_allows(requirement: Requirement) -> None:
    versions = [pin.version for pin in PINS if pin.name == canonicalize_name(requirement.name)]
    assert versions, f"{requirement.name} is not in requirements.lock: run make lock"
    assert all(version in requirement.specifier for version in versions), f"{requirement}, but {versions} is locked"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    pins = read_pins(ROOT / lock)
    assert [pin.name for pin in pins if not pin.hashes] == []
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for pin in pins for value in pin.hashes)


def test_what_builds_the_project_is_pinned_too() -> None:
    # It is installed without build isolation, so nothing is fetched but what the lock names.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {pin.name for pin in PINS}
    builders = [Requirement(text).name for text in project["build-system"]["requires"]]
    assert [name for name in builders if canonicalize_name(name) not in names] == []
