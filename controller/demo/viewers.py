"""How the demo does and shows what an operator would: with kubectl, or by itself where there is none."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import click
import yaml

from controller.demo.api import Api
from controller.errors import AgentpoolError
from controller.model import KINDS

_SECONDS = 60.0
_GAP = "   "


class Viewer(Protocol):
    """Applies, shows and deletes, and prints what it does."""

    def apply(self, manifest: Path) -> None:
        """Create the object of a file."""

    def get(self, *plurals: str, wide: bool = False) -> None:
        """Print the tables of kinds."""

    def delete(self, plural: str, name: str) -> None:
        """Delete an object."""


class Kubectl:
    """kubectl as it is installed, with nothing of the user's own configuration."""

    def __init__(self, program: str, kubeconfig: Path) -> None:
        self._program = program
        cache = str(kubeconfig.parent / "kubectl-cache")
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": cache}

    def apply(self, manifest: Path) -> None:
        """Create the object of a file."""
        self._run("apply", "-f", _shown(manifest))

    def get(self, *plurals: str, wide: bool = False) -> None:
        """Print the tables of kinds."""
        self._run("get", ",".join(plurals), *(["-o", "wide"] if wide else []))

    def delete(self, plural: str, name: str) -> None:
        """Delete an object and wait until it is gone."""
        self._run("delete", plural, name)

    def _run(self, *words: str) -> None:
        click.echo(f"\n$ kubectl {' '.join(words)}")
        remedy = "mend it, or leave it out with --no-kubectl"
        try:
            done = subprocess.run(
                [self._program, *words],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except OSError as error:
            raise AgentpoolError(f"{self._program} cannot be run ({error.strerror}): {remedy}") from None
        except subprocess.TimeoutExpired:
            raise AgentpoolError(f"kubectl {words[0]} did not end within {_SECONDS:.0f} s: {remedy}") from None
        click.echo(done.stdout.rstrip("\n"))
        if done.returncode != 0:
            told = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise AgentpoolError(f"kubectl {words[0]} failed with exit code {done.returncode} ({told}): {remedy}")


class OwnTables:
    """The same through the API server alone: kubectl's tables are made there, so these are the same ones."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def apply(self, manifest: Path) -> None:
        """Create the object of a file."""
        thing = read_manifest(manifest)
        self._api.create(plural_of(thing), thing)
        click.echo(f"\n{thing['kind']} {thing['metadata']['name']} created from {_shown(manifest)}")

    def get(self, *plurals: str, wide: bool = False) -> None:
        """Print the tables of kinds."""
        for plural in plurals:
            click.echo(f"\n{plural}:")
            for line in aligned(self._api.table(plural, wide=wide)):
                click.echo(line)

    def delete(self, plural: str, name: str) -> None:
        """Delete an object."""
        self._api.delete(plural, name)
        click.echo(f"\n{plural} {name}: deletion asked for")


def read_manifest(path: Path) -> dict[str, Any]:
    """The object of a file."""
    thing: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return thing


def plural_of(thing: dict[str, Any]) -> str:
    """How the API server calls the kind of an object."""
    return next(kind.plural for kind in KINDS if kind.kind_name == thing["kind"])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
