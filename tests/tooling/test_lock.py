"""requirements.lock against pyproject.toml."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Pin:
    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def version(self) -> str:
        [specifier] = self.requirement.specifier
        assert specifier.operator == "==", self.requirement
        return specifier.version


def read_pins() -> list[Pin]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    pins = []
    for line in lines:
        if line and not line.startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line)
            pins.append(Pin(Requirement(requirement), tuple(hashes)))
    return pins


def required() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]


@pytest.mark.parametrize("requirement", required(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_to_a_version_that_pyproject_allows(requirement: Requirement) -> None:
    versions = [
        pin.version
        for pin in read_pins()
        if canonicalize_name(pin.requirement.name) == canonicalize_name(requirement.name)
    ]
    assert versions, f"{requirement.name} is not in requirements.lock: run make lock"
    assert all(version in requirement.specifier for version in versions), f"{requirement}, but {versions} is locked"


def test_every_pin_has_hashes() -> None:
    bad = [pin.requirement.name for pin in read_pins() if not pin.hashes]
    assert bad == []
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for pin in read_pins() for value in pin.hashes)


def test_what_builds_the_project_is_pinned_too() -> None:
    # It is installed without build isolation, so nothing is fetched but what the lock names.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {canonicalize_name(pin.requirement.name) for pin in read_pins()}
    builders = [Requirement(text).name for text in project["build-system"]["requires"]]
    assert [name for name in builders if canonicalize_name(name) not in names] == []
