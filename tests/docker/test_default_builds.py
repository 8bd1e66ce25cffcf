"""agent/Dockerfile as it is built by anybody: on its own bases, with what pip, npm and apt bring.

It takes minutes, gigabytes and a network, so only this runs it, on an engine that has the bases or can pull them:

    AGENTPOOL_TEST_BUILDS=1 make test ARGS=tests/docker/test_default_builds.py
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker import image
from tests.docker.api import Engine
from tests.docker.conftest import Container, until

New = Callable[..., Container]
Build = Callable[..., str]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("AGENTPOOL_TEST_BUILDS") != "1",
        reason="builds on the default bases take minutes and a network: AGENTPOOL_TEST_BUILDS=1 runs them",
    ),
]

SOURCE = Path(__file__).with_name("source")
PLUGIN = image.ROOT / "tests" / "openclaw" / "plugin"
BOOT_SECONDS = 240.0
STRICT: dict[str, Any] = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "Tmpfs": {"/tmp": "mode=1777"},
    "Mounts": [{"Type": "volume", "Target": "/data"}],
}
"""What the docker backend forbids."""


@pytest.fixture(scope="module")
def built(docker_engine: Engine) -> Iterator[Build]:
    """Builds an image as the documentation says, and gives its tag; its lines are kept in ``told``."""
    tags: list[str] = []

    def build(folder: Path = image.AGENT, target: str = "", told: list[str] | None = None, **arguments: str) -> str:
        tags.append(f"agentpool-test/default:{uuid.uuid4().hex}")
        lines = image.build(docker_engine, tags[-1], folder, target=target, arguments=arguments, network="host")
        if told is not None:
            told[:] = lines
        return tags[-1]

    yield build
    for tag in tags:
        docker_engine.delete(f"/images/{tag}", force="1")


def works(container: Container, runtime: str) -> None:
    """It gets ready and healthy, may do nothing that it need not, is provisioned, and ends in order."""
    container.ready(BOOT_SECONDS)
    health = container.ask("GET", "/pool/health")[1]
    assert (health["ready"], health["runtime"], health["clean"]) == (True, runtime, True)
    until(lambda: container.state["Health"]["Status"] == "healthy", "the image's own check passes")

    assert container.run("id")[1].startswith("uid=10001(agent) gid=10001(agent)")
    for place in ("/file", "/opt/agentpool/file", "/usr/local/file"):
        status, output = container.run("touch", place, user="0")
        assert (status, "Read-only file system" in output) == (1, True), place
    assert container.run("touch", "/data/file", "/tmp/file")[0] == 0

    status, answer = container.ask("POST", "/pool/provision", {"agentName": "Tokyo", "instructions": "Plan trips."})
    assert (status, answer["ok"]) == (200, True)
    assert answer["conversationId"]
    assert container.stop() == 0, container.log


def test_the_image_without_openclaw_builds_on_its_own_base_and_works(built: Build, new_container: New) -> None:
    container = new_container(built(target="loopback"), **STRICT)
    assert "trixie" in container.run("cat", "/etc/os-release")[1]
    works(container, "loopback")


def test_npm_s_openclaw_boots_in_the_default_image(built: Build, new_container: New, tmp_path: Path) -> None:
    default = built()
    # As docs/docker.md says: the plugin comes with an image of one's own.
    shutil.copytree(PLUGIN, tmp_path / "convos")
    (tmp_path / "Dockerfile").write_text(
        f"FROM {default}\nCOPY convos /opt/plugins/convos\nENV AGENT_PLUGINS=/opt/plugins/convos\n"
    )
    model = {"OPENCLAW_PRIMARY_MODEL": "openrouter/anthropic/claude-sonnet-4-6"}
    works(new_container(built(tmp_path), environment=model, **STRICT), "openclaw")


class Repository:
    """A repository with the source of a small package, served on loopback."""

    def __init__(self, folder: Path) -> None:
        self._work = folder / "work"
        shutil.copytree(SOURCE, self._work)
        self._git("init", "--quiet", "--initial-branch", "main")
        self.release("1.0.0")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"git://127.0.0.1:{port}/work"
        words = ["daemon", "--listen=127.0.0.1", f"--port={port}", f"--base-path={folder}", "--export-all"]
        self._server = subprocess.Popen(["git", *words], stderr=subprocess.DEVNULL)

    def release(self, version: str) -> None:
        """Commit a version, with a tag of its name."""
        path = self._work / "package.json"
        path.write_text(re.sub(r'"version": "[^"]*"', f'"version": "{version}"', path.read_text()))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", version)
        self._git("tag", f"v{version}")

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()

    def _git(self, *words: str) -> None:
        person = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *person, *words], cwd=self._work, check=True)


@pytest.fixture
def repository() -> Iterator[Repository]:
    """A repository whose only version is 1.0.0."""
    if shutil.which("git") is None:
        pytest.skip("there is no git on PATH")
    with tempfile.TemporaryDirectory() as folder:
        made = Repository(Path(folder))
        yield made
        made.close()


def test_openclaw_is_built_from_the_source_that_is_named(built: Build, repository: Repository) -> None:
    told: list[str] = []

    def version(**arguments: str) -> str:
        built(target="openclaw", told=told, OPENCLAW_GIT_REPO=repository.url, **arguments)
        found = re.findall(r"^OpenClaw (\S+) \(built, with its pages, 1s\)$", "".join(told), re.MULTILINE)
        return str(found[0]) if found else "as before"

    assert version() == "1.0.0"
    assert "a script of a script ran" in "".join(told)
    repository.release("1.0.1")
    assert version() == "as before"
    assert version(OPENCLAW_CACHE_BUST="1") == "1.0.1"
    assert version(OPENCLAW_GIT_REF="v1.0.0", OPENCLAW_CACHE_BUST="1") == "1.0.0"


def test_what_was_built_from_source_is_in_the_image(built: Build, repository: Repository, new_container: New) -> None:
    tag = built(OPENCLAW_GIT_REPO=repository.url)
    container = new_container(tag, configuration={"Entrypoint": ["sleep"], "Cmd": ["600"]}, **STRICT)
    assert container.run("openclaw", "--version") == (0, "OpenClaw 1.0.0 (built, with its pages, 1s)\n")
    assert container.run("node", "--version")[1].startswith("v24.")
    # What only the build needs stays behind.
    modules = "/opt/openclaw/lib/node_modules/openclaw/node_modules"
    assert container.run("ls", modules)[1].split() == ["ms"]
