from __future__ import annotations

import re
from pathlib import Path

import pytest

import agent
from agent.errors import SettingsError
from agent.instructions import InstructionFiles, without_block
from agent.openclaw.workspace import lay_out

PACKAGE = Path(agent.__file__).parent / "workspace"
LAID_OUT = {
    "AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "HEARTBEAT.md", "BOOT.md", "USER.md",
    "skills/agentmail/SKILL.md", "skills/telnyx-cli/SKILL.md", "skills/bankr/SKILL.md",
}  # fmt: skip


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "package"
    (package / "skills").mkdir(parents=True)
    for name in ("AGENTS.md", "SOUL.md", "skills/SKILL.md"):
        (package / name).write_text(f"first {name}\n")
    return package


def renewed(package: Path) -> Path:
    for path in package.rglob("*.md"):
        path.write_text(path.read_text().replace("first", "second"))
    return package


@pytest.fixture
def workspace(tmp_path: Path, package: Path) -> Path:
    lay(tmp_path / "workspace", package)
    return tmp_path / "workspace"


def lay(workspace: Path, package: Path) -> None:
    lay_out(workspace, workspace.parent / "manifest.json", package)


def test_the_whole_package_is_laid_out(tmp_path: Path) -> None:
    lay_out(tmp_path / "workspace", tmp_path / "manifest.json")
    found = {path.relative_to(tmp_path / "workspace").as_posix() for path in (tmp_path / "workspace").rglob("*.md")}
    assert found == LAID_OUT


def test_what_nobody_changed_is_renewed(workspace: Path, package: Path) -> None:
    lay(workspace, renewed(package))
    assert (workspace / "skills/SKILL.md").read_text() == "second skills/SKILL.md\n"


def test_what_somebody_changed_stays(workspace: Path, package: Path) -> None:
    (workspace / "SOUL.md").write_text("theirs")
    for _ in range(2):
        lay(workspace, renewed(package))
    assert (workspace / "SOUL.md").read_text() == "theirs"
    assert (workspace / "AGENTS.md").read_text() == "second AGENTS.md\n"


def test_what_was_deleted_stays_deleted(workspace: Path, package: Path) -> None:
    (workspace / "SOUL.md").unlink()
    for _ in range(2):
        lay(workspace, renewed(package))
    assert not (workspace / "SOUL.md").exists()


def test_what_was_there_before_is_somebody_elses_for_ever(tmp_path: Path, package: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "SOUL.md").write_text("theirs")
    lay(workspace, package)
    assert (workspace / "SOUL.md").read_text() == "theirs"
    (workspace / "SOUL.md").unlink()
    lay(workspace, package)
    assert not (workspace / "SOUL.md").exists()


def test_a_new_file_of_the_package_is_laid_out_later(workspace: Path, package: Path) -> None:
    (package / "BOOT.md").write_text("new")
    lay(workspace, package)
    assert (workspace / "BOOT.md").read_text() == "new"


def test_instructions_are_no_change_and_survive_a_renewal(workspace: Path, package: Path) -> None:
    InstructionFiles(workspace, ("AGENTS.md",)).write("Plan trips.")
    lay(workspace, renewed(package))
    document = (workspace / "AGENTS.md").read_bytes()
    assert without_block(document) == b"second AGENTS.md\n"
    assert b"Plan trips." in document


def test_a_kill_before_the_manifest_is_no_change(workspace: Path, package: Path) -> None:
    (workspace.parent / "manifest.json").unlink()
    lay(workspace, package)
    lay(workspace, renewed(package))
    assert (workspace / "SOUL.md").read_text() == "second SOUL.md\n"


def test_a_link_or_another_kind_of_thing_in_the_way_is_left_alone(workspace: Path, package: Path) -> None:
    elsewhere = workspace.parent / "elsewhere"
    elsewhere.write_text("first SOUL.md\n")
    (workspace / "SOUL.md").unlink()
    (workspace / "SOUL.md").symlink_to(elsewhere)
    (workspace / "AGENTS.md").unlink()
    (workspace / "AGENTS.md").mkdir()
    (workspace / "skills/SKILL.md").unlink()
    (workspace / "skills").rmdir()
    (workspace / "skills").write_text("theirs")
    lay(workspace, renewed(package))
    assert elsewhere.read_text() == "first SOUL.md\n"
    assert (workspace / "SOUL.md").is_symlink()
    assert (workspace / "skills").read_text() == "theirs"


def test_a_manifest_that_cannot_be_read_is_said(workspace: Path, package: Path) -> None:
    (workspace.parent / "manifest.json").write_text("{")
    with pytest.raises(SettingsError, match=r"manifest\.json is not JSON"):
        lay(workspace, package)


@pytest.mark.parametrize("skill", ["agentmail", "telnyx-cli", "bankr"])
def test_a_skill_says_what_it_is_and_which_variables_it_needs(skill: str) -> None:
    text = (PACKAGE / "skills" / skill / "SKILL.md").read_text()
    head, body = text.removeprefix("---\n").split("\n---\n", 1)
    assert f"name: {skill}" in head
    [description] = re.findall(r"^description: (.*)$", head, re.MULTILINE)
    assert len(description) < 160
    required = re.findall(r'"([A-Z_]+)"', re.findall(r'"env": \[(.*?)\]', head)[0])
    assert required
    assert all(name in body for name in required)


@pytest.mark.parametrize("command", ["request-agent", "release-agent", "heartbeat"])
def test_the_commands_of_the_pool_are_explained(command: str) -> None:
    assert f"`{command}" in (PACKAGE / "AGENTS.md").read_text()
