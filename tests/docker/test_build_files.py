"""What the agent's image is built from: agent/Dockerfile and the lock of what agent/ imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.image import AGENT, LOCK, ROOT, context_files

DOCKERFILE = (AGENT / "Dockerfile").read_text(encoding="utf-8")


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))


def steps() -> list[str]:
    """The shell commands of the Dockerfile."""
    lines = re.sub(r"\\\n", " ", DOCKERFILE).splitlines()
    return [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]


def imported() -> set[str]:
    names: set[str] = set()
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    return names - sys.stdlib_module_names - {"agent"}


def test_what_the_agent_imports_is_required_and_nothing_else() -> None:
    lines = (AGENT / "requirements.in").read_text(encoding="utf-8").splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == imported()


def test_the_image_has_the_versions_that_the_tests_run_with() -> None:
    whole, own = pins(ROOT / "requirements.lock"), pins(LOCK)
    assert imported() <= set(own)
    assert {name: version for name, version in own.items() if whole.get(name) != version} == {}


def test_every_pin_has_hashes_and_no_index_is_named() -> None:
    text = LOCK.read_text(encoding="utf-8")
    entries = text.replace("\\\n", " ").splitlines()
    assert [line for line in entries if re.match(r"\w", line) and "--hash=sha256:" not in line] == []
    assert "://" not in text


@pytest.mark.parametrize(
    "syntax", [r"^\s*(RUN|COPY|ADD)\s+--(?!from=)", r"<<-?['\"]?\w", r"^#\s*syntax=", r"^VOLUME"], ids=str
)
def test_any_builder_can_build_it(syntax: str) -> None:
    # The engine's own builder has no --mount, --chmod or heredocs, and some platforms refuse VOLUME.
    assert re.search(syntax, DOCKERFILE, re.MULTILINE) is None


@pytest.mark.parametrize("step", steps(), ids=lambda step: " ".join(step.split()[:3]))
def test_a_shell_understands_every_step(step: str) -> None:
    # OpenClaw's stage needs a network, so it is run by test_default_builds.py only.
    done = subprocess.run(["sh", "-n"], input=step, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_context_has_no_caches_and_no_secrets() -> None:
    names = {path.relative_to(AGENT).as_posix() for path in context_files(AGENT)}
    assert {"Dockerfile", "server.py", "requirements.lock", "commands/bin/request-agent"} <= names
    assert [name for name in names if re.search(r"__pycache__|\.pyc$|(^|/)\.env|README\.md$", name)] == []
