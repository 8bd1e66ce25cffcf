"""Private engines: side by side, killed and started again, and gone without a trace."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.docker import remains
from tests.docker.api import Engine, EngineError
from tests.docker.conftest import Container, until
from tests.docker.engine import PrivateEngine, answering_engine
from tests.docker.image import stub_image
from tests.docker.plugin import require_own_engine

ROOT = Path(__file__).parents[2]
NewEngine = Callable[..., PrivateEngine]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: sockets are below it."""
    require_own_engine()
    made = Path(tempfile.mkdtemp(prefix="ap-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def new_engine(folder: Path) -> Iterator[NewEngine]:
    """Makes private engines that have started."""
    made: list[PrivateEngine] = []

    def make(*, live_restore: bool = False) -> PrivateEngine:
        made.append(PrivateEngine(folder / str(len(made)), live_restore=live_restore))
        made[-1].start()
        return made[-1]

    yield make
    for engine in made:
        engine.remove()


def serve(engine: Engine, **host: object) -> Container:
    """A container that serves on a published port."""
    order = {
        "Image": stub_image(engine),
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {"PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}, **host},
    }
    container = Container(engine, engine.post("/containers/create", order)["Id"])
    engine.post(f"/containers/{container.id}/start")
    until(lambda: container.ask("GET", "/")[0] == 200, "the container serves")
    return container


def traces(engine: PrivateEngine) -> list[str]:
    """Whatever the engine left on this host."""
    processes = [
        f"process {process.pid}" for process, words in remains.commands() if f"{engine.folder}/" in " ".join(words)
    ]
    bridges = [] if engine.bridge is None else [f"bridge {engine.bridge.name}"]
    mounts = [f"mount {point}" for point in remains.mounts_below(engine.folder)]
    cgroups = [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/{engine.name}")]
    return [*processes, *bridges, *mounts, *cgroups]


def interface(name: str) -> bool:
    """Whether this host has a network interface of that name."""
    return Path("/sys/class/net", name).exists()


@pytest.mark.slow
def test_engines_side_by_side_do_not_see_each_other_and_leave_nothing(new_engine: NewEngine) -> None:
    first, second = new_engine(), new_engine()
    assert first.bridge
    assert second.bridge
    assert not first.bridge.block.overlaps(second.bridge.block)
    with closing(Engine(first.host)) as one, closing(Engine(second.host)) as two:
        network = one.post("/networks/create", {"Name": "further"})["Id"]
        further = f"br-{network[:12]}"
        assert interface(further)
        containers = [serve(one), serve(two), serve(one, NetworkMode=network)]
        assert [len(each.get("/containers/json")) for each in (one, two)] == [2, 1]
        # That the second starts again does nothing to the first.
        second.restart()
        assert containers[0].ask("GET", "/")[0] == containers[2].ask("GET", "/")[0] == 200
    first.stop()
    second.kill(containerd=True)
    second.stop()
    assert traces(first) == traces(second) == []
    assert not interface(further)


@pytest.mark.slow
@pytest.mark.parametrize("containerd", [False, True], ids=["dockerd", "containerd too"])
def test_with_live_restore_containers_outlive_a_killed_engine(containerd: bool, new_engine: NewEngine) -> None:
    engine = new_engine(live_restore=True)
    with closing(Engine(engine.host)) as client:
        container = serve(client)
        started = container.state["StartedAt"]
        engine.kill(containerd=containerd)
        assert not client.answers()
        engine.start()
        assert client.answers()
        assert (container.state["Running"], container.state["StartedAt"]) == (True, started)
        until(lambda: container.ask("GET", "/")[0] == 200, "the container serves again")
    engine.stop()
    assert traces(engine) == []


def test_an_engine_that_cannot_start_says_why_and_leaves_nothing(folder: Path) -> None:
    engine = PrivateEngine(folder / "engine")
    engine.folder.mkdir()
    (engine.folder / "data").write_text("no folder")
    with pytest.raises(EngineError, match=r"no Docker engine could be started in .*: dockerd ended at once: .*data"):
        engine.start()
    assert traces(engine) == []


def test_a_folder_too_deep_for_sockets_is_refused(folder: Path) -> None:
    with pytest.raises(EngineError, match="too long for sockets"):
        PrivateEngine(folder / ("x" * 80)).start()


def test_from_a_shell_an_engine_stays_until_it_is_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = PrivateEngine(folder / "engine")

    def shell(*words: str) -> str:
        command = [sys.executable, "-m", "tests.docker.engine", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert shell("start", str(engine.folder)).splitlines()[-1] == engine.host
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    assert answering_engine() == engine.host
    pid = engine.pid
    shell("start", str(engine.folder))
    assert engine.pid == pid
    shell("stop", str(engine.folder))
    assert traces(engine) == []
    assert answering_engine() != engine.host
