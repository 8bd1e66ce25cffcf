"""What the operator and the agent's image consist of, as CycloneDX: `python -m tests.tooling.sbom [--check]`.

Made of the lock files and agent/Dockerfile alone, so the same files give the same bytes: no times, no serial numbers.
The hashes of every file that pip may install are in the lock files themselves.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tooling.locks import Pin, read_pins

ROOT = Path(__file__).parents[2]
FILES = {"sbom.cdx.json": "operator", "agent/sbom.cdx.json": "agent"}
"""Where each is written, and of what it tells."""

Component = dict[str, Any]


def rendered(root: Path) -> dict[str, str]:
    """The files: content by path."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    made = {"operator": _operator(root, project), "agent": _agent(root, project)}
    return {path: json.dumps(made[of], indent=2) + "\n" for path, of in FILES.items()}


def _operator(root: Path, project: Mapping[str, Any]) -> dict[str, Any]:
    pins = read_pins(root / "requirements.lock")
    named = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    return _document(_application("agentpool", project), named, _needed(pins, named), [])


def _agent(root: Path, project: Mapping[str, Any]) -> dict[str, Any]:
    lines = (root / "agent" / "requirements.in").read_text(encoding="utf-8").splitlines()
    named = {canonicalize_name(line) for line in lines if line and not line.startswith("#")}
    pins = read_pins(root / "agent" / "requirements.lock")
    defaults = dict(
        re.findall(r"^ARG (\w+)=(\S+)$", (root / "agent" / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    gateway = _component("library", "openclaw", defaults["OPENCLAW_NPM_VERSION"], "npm")
    others = [
        {**gateway, "scope": "optional", "description": "The agent's gateway; not in the target loopback"},
        {**_image(defaults["NODE_IMAGE"]), "scope": "optional", "description": "Runs OpenClaw; not in loopback"},
        {**_image(defaults["PYTHON_IMAGE"]), "description": "What the image is based on"},
    ]
    return _document(_application("agentpool-agent", project), named, pins, others)


def _needed(pins: list[Pin], named: Iterable[str]) -> list[Pin]:
    """The pins that those packages need, and no more: what is for development only is not delivered."""
    waiting, found = list(named), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [pin.name for pin in pins if name in pin.wanted_by]
    return [pin for pin in pins if pin.name in found]


def _document(
    application: Component, named: Collection[str], pins: list[Pin], others: list[Component]
) -> dict[str, Any]:
    references = {pin.name: _reference("pypi", pin.name, pin.version) for pin in pins}
    components = sorted([*map(_library, pins), *others], key=lambda component: str(component["bom-ref"]))
    top = [references[name] for name in named] + [component["bom-ref"] for component in others]
    needs = {application["bom-ref"]: top} | {
        references[pin.name]: [references[other.name] for other in pins if pin.name in other.wanted_by] for pin in pins
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "pre-build"}], "component": application},
        "components": components,
        "dependencies": [
            {"ref": reference, "dependsOn": sorted(needs.get(reference, []))}
            for reference in [application["bom-ref"], *(component["bom-ref"] for component in components)]
        ],
    }


def _application(name: str, project: Mapping[str, Any]) -> Component:
    return {**_component("application", name, project["version"], "pypi"), "description": project["description"]}


def _library(pin: Pin) -> Component:
    component = _component("library", pin.name, pin.version, "pypi")
    if pin.requirement.marker is None:
        return component
    # Which of them are installed depends on the machine.
    where = {"name": "agentpool:installed-where", "value": str(pin.requirement.marker)}
    return {**component, "scope": "optional", "properties": [where]}


def _image(reference: str) -> Component:
    name, _, tag = reference.partition(":")
    return _component("container", name, tag, "docker")


def _component(sort: str, name: str, version: str, kind: str) -> Component:
    reference = _reference(kind, name, version)
    return {"type": sort, "bom-ref": reference, "name": name, "version": version, "purl": reference}


def _reference(kind: str, name: str, version: str) -> str:
    return f"pkg:{kind}/{name}@{version}"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the files, or say which are not as they would be written."""
    parser = argparse.ArgumentParser(description="Write what operator and agent consist of, as CycloneDX.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args(arguments).check
    stale = []
    for path, content in rendered(root).items():
        file = root / path
        if not check:
            file.write_text(content, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != content:
            stale.append(path)
    for path in stale:
        sys.stderr.write(f"{path} differs from what the lock files say: run make sbom\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
