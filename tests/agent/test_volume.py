from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import agent.volume
from agent.errors import SettingsError
from agent.log import Log
from agent.settings import Settings
from agent.volume import move_to_volume

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

LOG = Log("agent")
FILES = {"provision.json": b"{}", "workspace/AGENTS.md": b"agents", "workspace/empty": b""}


class Killed(BaseException):
    """Nothing can be cleaned up after this."""


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume" / "lost+found").mkdir(parents=True)
    return tmp_path / "volume"


@pytest.fixture
def former(tmp_path: Path) -> Path:
    former = tmp_path / "former"
    fill(former)
    (former / "link").symlink_to("provision.json")
    os.mkfifo(former / "pipe")
    return former


def fill(directory: Path) -> None:
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def settings(state: Path, **environment: str) -> Settings:
    return Settings.from_environment({"OPENCLAW_GATEWAY_TOKEN": "t", "OPENCLAW_STATE_DIR": str(state), **environment})


def test_state_that_was_there_before_the_volume_is_moved(former: Path, volume: Path) -> None:
    state = volume / "state"
    move_to_volume(former, state, LOG)
    assert files(state) == FILES
    assert (state / "link").readlink() == Path("provision.json")
    assert not former.exists()
    assert sorted(path.name for path in volume.iterdir()) == ["lost+found", "state"]
    assert sorted(path.name for path in volume.parent.iterdir()) == ["volume"]


def test_state_on_the_volume_leads(former: Path, volume: Path) -> None:
    (volume / "state").mkdir()
    (volume / "state" / "own").write_text("older")
    move_to_volume(former, volume / "state", LOG)
    assert files(volume / "state") == {"own": b"older"}
    assert files(former) == FILES


def test_an_empty_state_directory_on_the_volume_is_none(former: Path, volume: Path) -> None:
    (volume / "state").mkdir()
    move_to_volume(former, volume / "state", LOG)
    assert files(volume / "state") == FILES


def test_without_former_state_nothing_is_made(volume: Path) -> None:
    move_to_volume(volume.parent / "nowhere", volume / "state", LOG)
    assert not (volume / "state").exists()


# Every step that changes anything on a disk; where the move is killed just before one of them, and where just after.
STEPS: list[tuple[Any, str]] = [
    (shutil, "copytree"),
    (agent.volume, "sync_directory"),
    (Path, "rename"),
    (shutil, "rmtree"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("step", STEPS, ids=[name for _, name in STEPS])
def test_a_kill_at_any_step_loses_nothing_and_mixes_nothing(
    former: Path, volume: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], call: int, when: str
) -> None:
    owner, name = step
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def killing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call + 1 and when == "before":
            raise Killed
        result = real(*arguments, **options)
        if calls == call + 1:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killing)
        try:
            move_to_volume(former, volume / "state", LOG)
        except Killed:
            state = volume / "state"
            assert not state.exists() or files(state) == FILES
            assert files(former) in ({}, FILES)
            assert FILES in (files(former), files(state))
    move_to_volume(former, volume / "state", LOG)
    assert files(volume / "state") == FILES
    assert sorted(path.name for path in volume.iterdir()) == ["lost+found", "state"]


def test_a_copy_that_was_killed_halfway_is_thrown_away(former: Path, volume: Path) -> None:
    (volume / ".state-draft-1234").mkdir()
    (volume / ".state-draft-1234" / "half").write_text("")
    move_to_volume(former, volume / "state", LOG)
    assert files(volume / "state") == FILES


def test_a_volume_inside_the_state_directory_is_refused(former: Path) -> None:
    (former / "volume").mkdir()
    with pytest.raises(SettingsError, match="lies inside the state directory"):
        move_to_volume(former, former / "volume" / "state", LOG)


@pytest.mark.parametrize("variable", ["AGENT_VOLUME", "RAILWAY_VOLUME_MOUNT_PATH"])
def test_a_mounted_volume_holds_the_state(former: Path, volume: Path, variable: str) -> None:
    chosen = settings(former, **{variable: str(volume)})
    assert (chosen.state_dir, chosen.former_state_dir) == (volume / "state", former)


def test_a_state_directory_on_the_volume_is_used_as_it_is(former: Path, volume: Path) -> None:
    for state in (volume, volume / "own"):
        chosen = settings(state, AGENT_VOLUME=str(volume))
        assert (chosen.state_dir, chosen.former_state_dir) == (state, None)
    assert settings(former).former_state_dir is None


async def test_an_instance_goes_on_with_its_conversation_after_it_was_given_a_volume(
    new_instance: Callable[..., Instance], volume: Path
) -> None:
    instance = new_instance()
    await instance.ready()
    conversation = (await instance.provision()).json["conversationId"]
    instance.terminate()
    former, instance.state_dir = instance.state_dir, volume / "state"
    instance.start(OPENCLAW_STATE_DIR=str(former), AGENT_VOLUME=str(volume))
    await instance.ready()
    assert (await instance.convos_status())["conversationId"] == conversation
    assert (await instance.provision()).json["conversationId"] == conversation
    assert not former.exists()
