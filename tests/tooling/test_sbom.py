"""What operator and agent consist of: sbom.cdx.json, agent/sbom.cdx.json."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.tooling.sbom import FILES, ROOT, main, rendered

OPERATOR, AGENT = FILES


def read(path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / path).read_bytes())
    return document


def names(path: str) -> set[str]:
    return {component["name"] for component in read(path)["components"]}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files of which they are made."""
    (tmp_path / "agent").mkdir()
    for name in ("pyproject.toml", "requirements.lock", *(f"agent/{each}" for each in (
        "requirements.in", "requirements.lock", "Dockerfile"
    ))):  # fmt: skip
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("path", FILES)
def test_each_follows_the_schema_of_cyclonedx(path: str) -> None:
    trouble = JsonStrictValidator(SchemaVersion.V1_6).validate_str((ROOT / path).read_text(encoding="utf-8"))
    assert trouble is None, trouble


@pytest.mark.parametrize("path", FILES)
def test_every_component_is_in_the_tree_of_dependencies_and_reached_from_its_top(path: str) -> None:
    document = read(path)
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    top = document["metadata"]["component"]["bom-ref"]
    assert needs.keys() == {top, *(component["bom-ref"] for component in document["components"])}
    waiting, reached = [top], set[str]()
    while waiting:
        reference = waiting.pop()
        if reference not in reached:
            reached.add(reference)
            waiting += needs[reference]
    assert reached == needs.keys()


def test_what_only_developers_need_is_in_none() -> None:
    assert {"kopf", "psycopg-binary", "typing-extensions"} <= names(OPERATOR)
    assert not {"pytest", "hypothesis", "mypy", "pip-audit"} & (names(OPERATOR) | names(AGENT))


def test_the_agents_names_what_of_its_image_comes_from_elsewhere_than_pip() -> None:
    dockerfile = (ROOT / "agent" / "Dockerfile").read_text(encoding="utf-8")
    version = re.search(r"OPENCLAW_NPM_VERSION=(\S+)", dockerfile)
    assert version
    purls = {component["purl"] for component in read(AGENT)["components"]}
    assert f"pkg:npm/openclaw@{version[1]}" in purls
    assert {purl.partition("@")[0] for purl in purls if purl.startswith("pkg:docker/")} == {
        "pkg:docker/node", "pkg:docker/python",
    }  # fmt: skip


def test_the_image_says_where_its_own_is() -> None:
    dockerfile = (ROOT / "agent" / "Dockerfile").read_text(encoding="utf-8")
    assert 'dev.agentpool.sbom="/opt/agentpool/agent/sbom.cdx.json"' in dockerfile
    assert "COPY . /opt/agentpool/agent" in dockerfile


def test_the_same_lock_files_give_the_same_bytes(copy: Path) -> None:
    assert rendered(copy) == rendered(ROOT)


def test_a_lock_that_moved_on_makes_them_stale_until_they_are_written_anew(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], copy) == 0
    assert main(["--check"], copy) == 0
    lock = copy / "requirements.lock"
    lock.write_text(lock.read_text(encoding="utf-8").replace("\nkopf==", "\nkopf==9"), encoding="utf-8")
    assert main(["--check"], copy) == 1
    assert capsys.readouterr().err == f"{OPERATOR} differs from what the lock files say: run make sbom\n"
    assert main([], copy) == 0
    assert main(["--check"], copy) == 0
