"""Where the demo plays: local processes, or containers of a Docker engine."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import click
import yaml

from controller.demo.api import Api
from controller.demo.viewers import read_manifest
from controller.errors import AgentpoolError

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests" / "samples"
IMAGE = "agentpool-agent:loopback"
_BUILD_SECONDS = 1800.0
_SECONDS = 60.0
_LABEL = "agentpool-demo"


class Stage(Protocol):
    """One place where instances run."""

    remnant: str
    """What an instance is there, in a word."""

    @property
    def patience(self) -> float:
        """Seconds within which anything comes about."""

    def prepare(self) -> str:
        """Make ready what the pool needs; answers a sentence on it."""

    def env(self) -> Mapping[str, str]:
        """What the operator needs in its environment."""

    def furnish(self, api: Api) -> None:
        """Create what the pool refers to."""

    def pool(self) -> Path:
        """The manifest of the pool."""

    def show(self, api: Api) -> None:
        """Print how instances are seen there."""

    def remains(self) -> list[str]:
        """What instances have left behind there, besides processes of the system."""

    def clear(self) -> None:
        """Remove what they left."""


class ProcessStage:
    """This host: the processes of the system are all there is."""

    remnant = "process"
    patience = _SECONDS

    def prepare(self) -> str:
        """Nothing to do."""
        return "instances are local processes"

    def env(self) -> Mapping[str, str]:
        """Nothing."""
        return {}

    def furnish(self, api: Api) -> None:
        """The pool refers to nothing."""

    def pool(self) -> Path:
        """The sample as it is."""
        return SAMPLES / "pool.yaml"

    def show(self, api: Api) -> None:
        """The tables of the API server say it all."""

    def remains(self) -> list[str]:
        """Nothing."""
        return []

    def clear(self) -> None:
        """Nothing to do."""


class DockerStage:
    """The engine that the docker command reaches, with the agent image that this checkout makes, or another one."""

    remnant = "process, container or volume"
    patience = _SECONDS

    def __init__(self, folder: Path, image: str | None) -> None:
        self._folder = folder
        self._image = image
        self._mark = f"{_LABEL}={folder.name}"

    def prepare(self) -> str:
        """See that the engine answers and that the image is there."""
        version = self._docker("version", "--format", "{{.Server.Version}}").strip()
        if self._image is None:
            self._image = IMAGE
            self._docker("build", "--target", "loopback", "--tag", IMAGE, str(ROOT / "agent"), seconds=_BUILD_SECONDS)
        return f"instances are containers of {self._image} on Docker {version}"

    def env(self) -> Mapping[str, str]:
        """The operator inherits DOCKER_HOST."""
        return {}

    def furnish(self, api: Api) -> None:
        """The pool refers to nothing."""

    def pool(self) -> Path:
        """The sample, with the image and with a label by which its containers are found again."""
        manifest: dict[str, Any] = read_manifest(SAMPLES / "docker" / "pool.yaml")
        label, value = self._mark.split("=")
        manifest["spec"]["template"]["image"] = self._image
        manifest["spec"]["backend"]["docker"]["labels"] = {label: value}
        path = self._folder / "pool.yaml"
        path.write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")
        return path

    def show(self, api: Api) -> None:
        """The claimed one bears the name of its agent."""
        columns = "table {{.Names}}\t{{.Status}}\t{{.Ports}}"
        click.echo("\n$ docker ps")
        click.echo(self._docker("ps", "--filter", f"label={self._mark}", "--format", columns).rstrip("\n"))

    def remains(self) -> list[str]:
        """Containers and volumes with the label."""
        mark = f"label={self._mark}"
        containers = self._docker("ps", "--all", "--quiet", "--filter", mark).split()
        return [*containers, *self._docker("volume", "ls", "--quiet", "--filter", mark).split()]

    def clear(self) -> None:
        """Remove the containers, with their volumes."""
        if self._image is None:
            return  # it was never prepared: there is nothing, and perhaps no engine
        containers = self._docker("ps", "--all", "--quiet", "--filter", f"label={self._mark}").split()
        if containers:
            self._docker("rm", "--force", "--volumes", *containers)

    def _docker(self, *words: str, seconds: float = _SECONDS) -> str:
        host = os.environ.get("DOCKER_HOST", "the usual socket")
        try:
            done = subprocess.run(
                ["docker", *words],  # noqa: S607 - whichever the person uses
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError:
            raise AgentpoolError("there is no docker command: install Docker, or leave BACKEND out") from None
        except subprocess.TimeoutExpired:
            raise AgentpoolError(f"docker {words[0]} did not end within {seconds:.0f} s") from None
        if done.returncode != 0:
            told = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise AgentpoolError(
                f"docker {words[0]} failed ({told}): see that an engine answers at {host}, or name one by DOCKER_HOST"
                if words[0] != "build"
                else f"the agent image could not be built ({told}): name one that exists with IMAGE=..., or mend agent/"
            )
        return done.stdout
