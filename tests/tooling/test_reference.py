"""The generator of docs/reference.md."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import REGISTRY

from controller import metrics
from controller.model import KINDS
from controller.settings import Settings
from tests.tooling.reference import main, reference


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
    page, runner = tmp_path / "docs" / "reference.md", CliRunner()
    assert runner.invoke(main, [str(page)]).exit_code == 0
    assert runner.invoke(main, ["--check", str(page)]).exit_code == 0
    page.write_text(page.read_text() + "more\n")
    done = runner.invoke(main, ["--check", str(page)])
    assert (done.exit_code, done.stderr) == (1, f"{page} differs from what the program says: run make docs\n")
    assert page.read_text().endswith("more\n")
