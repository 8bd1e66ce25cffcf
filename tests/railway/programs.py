"""What images and repositories there are, and what runs when one of them is deployed."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.railway.records import Config

STUB = Path(__file__).parents[1] / "contract" / "backend" / "agent_program.py"


@dataclass(frozen=True, slots=True)
class Program:
    """A command, with the variables that its image sets."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


AGENT = Program((sys.executable, "-m", "agent"), {"AGENT_GATEWAY": "loopback"})
STUB_AGENT = Program((sys.executable, "-S", str(STUB)))


@dataclass(frozen=True, slots=True)
class Image:
    """All images whose reference matches a pattern as of a shell."""

    pattern: str
    program: Program | None
    """None: there is no such image."""
    username: str = ""
    """Who has to ask for it; empty: anybody may."""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Repository:
    """All repositories, as owner/name, that match a pattern. Branches and directories are patterns too."""

    pattern: str
    program: Program | None
    branches: tuple[str, ...] = ("main", "dev", "staging", "production")
    directories: tuple[str, ...] = ("", "/", "/agent", "agent", "/runtime", "runtime")


@dataclass(frozen=True)
class Catalogue:
    """The first pattern that matches leads."""

    images: tuple[Image, ...] = (
        Image("*/missing*", None),
        Image("*/private*", STUB_AGENT, "ada", "open sesame"),
        Image("*/stub[:@]*", STUB_AGENT),
        Image("*", AGENT),
    )
    repositories: tuple[Repository, ...] = (
        Repository("*/missing*", None),
        Repository("*/stub*", STUB_AGENT),
        Repository("*", AGENT),
    )

    def find(self, config: Config) -> Program | str:
        """What the source of a configuration becomes when it is deployed; a sentence when nothing can."""
        source: Mapping[str, Any] = config.get("source", {})
        found = self._image(source["image"], config) if "image" in source else self._repository(source)
        start = config.get("deploy", {}).get("startCommand")
        if isinstance(found, Program) and start is not None:
            return Program(("/bin/sh", "-c", start), found.env)
        return found

    def _image(self, reference: str, config: Config) -> Program | str:
        credentials = config.get("deploy", {}).get("registryCredentials", {})
        for image in self.images:
            if not fnmatchcase(reference, image.pattern):
                continue
            if image.username and (credentials.get("username"), credentials.get("password")) != (
                image.username,
                image.password,
            ):
                return f"Failed to pull image {reference}: access denied"
            return image.program or f"Failed to pull image {reference}: manifest unknown"
        return f"Failed to pull image {reference}: manifest unknown"

    def _repository(self, source: Mapping[str, Any]) -> Program | str:
        name, branch, root = source["repo"], source.get("branch", "main"), source.get("rootDirectory", "")
        for each in self.repositories:
            if not fnmatchcase(name, each.pattern):
                continue
            if each.program is None:
                break
            if not any(fnmatchcase(branch, pattern) for pattern in each.branches):
                return f"Failed to clone {name}: the branch {branch} does not exist"
            if not any(fnmatchcase(root, pattern) for pattern in each.directories):
                return f"Could not find root directory: {root}"
            return each.program
        return f"Failed to clone {name}: the repository was not found"


def minimal_path() -> str:
    """A PATH with a shell, the usual tools and this Python."""
    folders = [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    shell = shutil.which("sh")
    return os.pathsep.join(dict.fromkeys([*folders, *([str(Path(shell).parent)] if shell else [])]))
