"""The lock files, as uv writes them: each pin with where it is for, its hashes, and who wants it."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Pin:
    """One package at one version."""

    requirement: Requirement
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]
    """Packages that need it, and the files (with ``-r``) or the project (with its file in brackets) that name it."""

    @property
    def name(self) -> str:
        """Its name, as indexes spell it."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """Its one version."""
        [specifier] = self.requirement.specifier
        assert specifier.operator == "==", self.requirement
        return specifier.version


def read_pins(lock: Path) -> list[Pin]:
    """Every pin of a lock file."""
    pins: list[Pin] = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock.read_text(encoding="utf-8")):
        pinned, _, comment = block.partition("    # via")
        requirement, *hashes = re.split(r"\s+--hash=", pinned.replace("\\\n", " ").strip())
        wanted_by = (line.lstrip("# ").strip() for line in comment.splitlines())
        pins.append(Pin(Requirement(requirement), tuple(hashes), tuple(each for each in wanted_by if each)))
    return pins
