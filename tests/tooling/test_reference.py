"""The generator of docs/reference.md."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from controller import metrics
from controller.model import KINDS
from controller.settings import Settings
from tests.tooling.reference import reference

ROOT = Path(__file__).parents[2]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.tooling.reference", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind_name)
def test_it_has_every_field_of_the_spec_and_its_meaning(kind: type) -> None:
    model = kind.model_fields["spec"].annotation  # type: ignore[attr-defined]
    for name, field in model.model_fields.items():
        rows = [line for line in reference().splitlines() if line.startswith(f"| `spec.{field.alias or name}` |")]
        assert rows, name
        assert all(len(row.split("|")[4].strip()) > 10 for row in rows)


def test_it_has_every_setting_and_its_meaning() -> None:
    rows = {line.split("`")[1]: line for line in reference().splitlines() if line.startswith("| `AGENTPOOL_")}
    assert set(rows) == {f"AGENTPOOL_{name.upper()}" for name in Settings.model_fields}
    assert all(row.rstrip(" |").endswith((".", ")")) for row in rows.values())


def test_it_has_every_metric_that_is_exposed() -> None:
    assert metrics.API_REQUESTS  # they are registered once the module is imported
    families = [family for family in REGISTRY.collect() if family.name.startswith("agentpool_")]
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    shown = {line.split("`")[1] for line in reference().splitlines() if line.startswith("| `agentpool_")}
    assert shown == names


def test_a_page_that_is_not_as_generated_is_told_and_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "reference.md"
    assert run(str(page)).returncode == 0
    assert run("--check", str(page)).returncode == 0
    page.write_text(page.read_text() + "more\n")
    done = run("--check", str(page))
    assert (done.returncode, done.stderr) == (1, f"{page} differs from what the program says: run make docs\n")
    assert page.read_text().endswith("more\n")
