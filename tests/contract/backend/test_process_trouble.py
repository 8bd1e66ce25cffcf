"""What a host can have against an instance: each is one sentence with a remedy, and leaves nothing behind."""

import asyncio
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from controller.backends.last_line import LINE_LIMIT
from controller.backends.process import ProcessBackend
from controller.backends.process.homes import Homes
from controller.backends.process.output import keep_small, last_line
from controller.backends.process.record import Record
from controller.backends.process.table import boot_id
from controller.errors import Misconfigured, Refused, Transient
from controller.ports import RemoteState
from tests.contract.backend.harness import PATIENCE, ProcessHarness, end, eventually


def script(tmp_path: Path, content: str, mode: int = 0o755) -> str:
    file = tmp_path / "script"
    file.write_text(content)
    file.chmod(mode)
    return str(file)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a file system of its own can be mounted only by root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


async def test_nothing_of_the_operator_s_environment_gets_in(
    processes: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAILWAY_API_TOKEN", "the-operator-s-own")
    monkeypatch.setenv("PYTHONSTARTUP", "/somewhere")
    backend = await processes.make()
    await backend.launch(processes.order("a", env={"OPENAI_API_KEY": "the-instance-s"}))
    await processes.ready("a")

    [process] = processes.processes("a")
    state = str(processes.root / "a" / "state")
    assert process.environ() == {
        "PATH": os.environ["PATH"],
        "HOME": state,
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "TZ": os.environ.get("TZ", "UTC"),
        "BEHAVIOUR": "serve",
        "OPENAI_API_KEY": "the-instance-s",
        "PORT": process.environ()["PORT"],
        "OPENCLAW_STATE_DIR": state,
        "AGENTPOOL_INSTANCE": "a",
        "AGENTPOOL_INSTALLATION": processes.installation,
    }


async def test_an_order_may_set_path_but_not_what_only_the_backend_knows(processes: ProcessHarness) -> None:
    path = f"{os.environ['PATH']}:/opt/bin"
    backend = await processes.make()
    await backend.launch(processes.order("a", env={"PATH": path, "PORT": "1", "AGENTPOOL_INSTANCE": "b"}))

    seen = await processes.environment("a")
    assert seen["PATH"] == path
    assert seen["PORT"] != "1"


async def test_only_the_user_of_the_operator_can_look_inside(processes: ProcessHarness) -> None:
    backend = await processes.make()
    await backend.launch(processes.order("a", env={"OPENAI_API_KEY": "very-secret"}))
    await processes.ready("a")

    home = processes.root / "a"
    assert {processes.root.stat().st_mode & 0o777, home.stat().st_mode & 0o777} == {0o700}
    assert [file for file in home.rglob("*") if file.stat().st_mode & 0o077] == []
    assert "very-secret" not in (home / "record.json").read_text()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["no-such-program-anywhere"], "is on none of the directories of PATH"),
        (["/no/such/program"], "does not exist"),
        (["./agent"], "relative path"),
        ([""], "is empty"),
        (["{plain}"], "chmod"),
        (["{no_interpreter}"], "interpreter"),
        (["{no_program}"], "is no program for this host"),
    ],
    ids=["not on PATH", "no such file", "relative", "empty", "not executable", "no interpreter", "no program"],
)
async def test_a_command_that_cannot_be_run_is_refused_with_a_remedy(
    processes: ProcessHarness, tmp_path: Path, command: list[str], says: str
) -> None:
    files = {
        "{plain}": ("echo", 0o644),
        "{no_interpreter}": ("#!/no/such/interpreter\n", 0o755),
        "{no_program}": ("\x7f\x00\x01", 0o755),
    }
    if command[0] in files:
        command = [script(tmp_path, *files[command[0]])]
    backend = await processes.make()
    with pytest.raises(Refused, match=says) as refused:
        await backend.launch(processes.order("a", command=command))

    assert refused.value.reason == "CommandNotFound"
    assert not (processes.root / "a").exists()
    assert list(await backend.list()) == []
    # A mended template is launched under the same uid.
    assert (await backend.launch(processes.order("a"))).state is RemoteState.RUNNING


@pytest.mark.parametrize(
    ("env", "reason"),
    [({"BIG": "x" * (1 << 20)}, "EnvironmentTooLarge"), ({"NUL": "a\0b"}, "InvalidEnvironment")],
    ids=["too large", "a NUL character"],
)
async def test_an_environment_that_no_process_can_have_is_refused(
    processes: ProcessHarness, env: dict[str, str], reason: str
) -> None:
    backend = await processes.make()
    with pytest.raises(Refused) as refused:
        await backend.launch(processes.order("a", env=env))

    assert refused.value.reason == reason
    assert list(await backend.list()) == []


async def test_a_uid_that_is_no_name_is_refused(processes: ProcessHarness) -> None:
    backend = await processes.make()
    with pytest.raises(Refused, match="cannot name a directory"):
        await backend.launch(processes.order("../outside"))


@pytest.mark.parametrize("obstacle", ["a file in its place", "read-only file system"])
async def test_a_root_that_cannot_be_written_stops_the_start_with_a_sentence(tmp_path: Path, obstacle: str) -> None:
    root = Path("/proc/agentpool")
    if obstacle == "a file in its place":
        root = tmp_path / "file"
        root.touch()
    backend = ProcessBackend(root, installation="test", default_command=["true"])
    with pytest.raises(Misconfigured, match=str(root)):
        await backend.start()
    await backend.close()


async def test_a_root_that_becomes_unwritable_is_a_passing_trouble(processes: ProcessHarness) -> None:
    backend = await processes.make()
    shutil.rmtree(processes.root)
    processes.root.touch()
    with pytest.raises(Transient, match=str(processes.root)):
        await backend.launch(processes.order("a"))

    processes.root.unlink()
    assert (await backend.launch(processes.order("a"))).state is RemoteState.RUNNING


async def test_a_full_disk_is_a_passing_trouble(small_disk: Path) -> None:
    world = ProcessHarness(small_disk / "instances")
    backend = await world.make()
    await backend.launch(world.order("before"))
    fill(small_disk)
    with pytest.raises(Transient, match=r"is full .* free space"):
        await backend.launch(world.order("a"))
    assert world.processes("a") == []
    assert [remote.uid for remote in await backend.list()] == ["before"]

    # What runs can be ended all the same.
    await end(backend, "before", grace=5.0)
    (small_disk / "ballast").unlink()
    assert (await backend.launch(world.order("a"))).state is RemoteState.RUNNING
    await end(backend, "a")
    await world.close()


async def test_no_file_descriptors_left_is_a_passing_trouble(processes: ProcessHarness) -> None:
    backend = await processes.make()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(Transient, match="ulimit -n"):
            await backend.launch(processes.order("a"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (await backend.launch(processes.order("a"))).state is RemoteState.RUNNING


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENOMEM])
async def test_a_process_that_cannot_be_looked_at_has_not_ended(
    processes: ProcessHarness, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """As when the last descriptor is taken between the list of all pids and the look at one of them."""
    backend = await processes.make()
    await backend.launch(processes.order("a"))
    await processes.ready("a")
    real = os.open

    def scarce(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if str(path).startswith("/proc/"):
            raise OSError(error, os.strerror(error))
        return real(path, flags, mode, dir_fd=dir_fd)

    with monkeypatch.context() as scarcity:
        scarcity.setattr(os, "open", scarce)
        with pytest.raises(Transient, match="the process table cannot be read"):
            await backend.list()
        with pytest.raises(Transient):
            await backend.terminate("a", grace=0.0)
        with pytest.raises(Transient):
            await backend.launch(processes.order("b"))
    assert [remote.state for remote in await backend.list()] == [RemoteState.RUNNING]
    assert processes.processes("b") == []
    assert len(processes.processes("a")) == 1
    await end(backend, "a")


async def test_a_record_that_cannot_be_read_now_is_not_damaged_and_stays_whose_it_is(
    processes: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = await processes.make("another")
    await theirs.launch(processes.order("a"))
    file = processes.root / "a" / "record.json"
    content = file.read_text()
    ours, real = await processes.make(), Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == file:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    with monkeypatch.context() as scarcity:
        scarcity.setattr(Path, "read_bytes", failing)
        with pytest.raises(Transient, match="StateDirFailed"):
            await ours.list()
        with pytest.raises(Transient, match="StateDirFailed"):
            await ours.terminate("a", grace=0.0)
    assert list(await ours.list()) == []
    assert file.read_text() == content
    assert [remote.state for remote in await theirs.list()] == [RemoteState.RUNNING]
    await end(theirs, "a")


async def test_an_instance_on_which_another_controller_works_is_not_missing_from_the_list(
    processes: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.backends.process.homes.LOCK_SECONDS", 0.1)
    first = await processes.make()
    await first.launch(processes.order("a"))
    await processes.ready("a")
    await first.close()
    # As if it had died before it could write down which process it had started.
    homes = Homes(processes.root)
    record = homes.read("a")
    assert record is not None
    homes.write(record.model_copy(update={"main": None}))

    async with homes.lock("a"):
        backend = await processes.make()
        [doubtful] = await backend.list()
        assert (doubtful.uid, doubtful.state) == ("a", RemoteState.UNKNOWN)
        assert "another controller" in doubtful.message
    assert [remote.state for remote in await backend.list()] == [RemoteState.RUNNING]
    await end(backend, "a")


async def test_a_frozen_controller_that_works_on_one_instance_keeps_nobody_from_the_others(
    processes: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.backends.process.homes.GLANCE_SECONDS", 0.1)
    backend = await processes.make()
    for uid in "ab":
        await backend.launch(processes.order(uid))
        await processes.ready(uid)
    async with Homes(processes.root).lock("a"):
        victims = processes.processes("a")
        for process in victims:
            process.kill()

        async def dead() -> bool:
            return all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in victims)

        await eventually(dead)
        another = await processes.make()
        states = {remote.uid: remote.state for remote in await another.list()}
        assert states == {"a": RemoteState.UNKNOWN, "b": RemoteState.RUNNING}
        await end(another, "b")

    async def told() -> bool:
        return [remote.state for remote in await another.list()] == [RemoteState.EXITED]

    await eventually(told)
    await end(another, "a")


@pytest.mark.parametrize("damage", ["empty", "garbage", "another shape", "another uid", "missing", "a directory"])
@pytest.mark.parametrize("alive", [True, False], ids=["running", "ended"])
async def test_a_damaged_record_neither_loses_nor_doubles_an_instance(
    processes: ProcessHarness, damage: str, alive: bool
) -> None:
    first = await processes.make()
    await first.launch(processes.order("a"))
    await processes.ready("a")
    await first.close()
    if not alive:
        await processes.kill_remote("a")
        await eventually(lambda: not processes.processes("a"))
    file = processes.root / "a" / "record.json"
    content = {
        "empty": "",
        "garbage": "\x00{",
        "another shape": "[]",
        "another uid": file.read_text().replace('"a"', '"z"'),
    }
    file.unlink()
    if damage in content:
        file.write_text(content[damage])
    elif damage == "a directory":
        file.mkdir()

    backend = await processes.make()
    [listed] = await backend.list()
    launched = await backend.launch(processes.order("a"))
    assert launched == listed
    assert launched.state is (RemoteState.RUNNING if alive else RemoteState.EXITED)
    assert len(processes.processes("a")) == alive
    await end(backend, "a")
    assert processes.processes("a") == []
    assert not (processes.root / "a").exists()


async def test_a_launch_that_got_as_far_as_the_record_is_no_instance_yet(processes: ProcessHarness) -> None:
    homes = Homes(processes.root)
    homes.open()
    homes.create(Record(uid="a", installation=processes.installation, boot=boot_id()))
    backend = await processes.make()

    assert list(await backend.list()) == []
    assert not homes.state("a").exists()
    homes.create(Record(uid="a", installation=processes.installation, boot=boot_id()))
    assert (await backend.launch(processes.order("a"))).state is RemoteState.RUNNING


async def test_a_launch_goes_on_when_its_caller_gives_up(processes: ProcessHarness) -> None:
    backend = await processes.make()
    launch = asyncio.create_task(backend.launch(processes.order("a", "fail")))
    await eventually((processes.root / "a").exists)
    launch.cancel()

    async with asyncio.timeout(PATIENCE):
        async for told in backend.changes():
            assert (told.uid, told.state) == ("a", RemoteState.EXITED)
            break


async def test_a_uid_that_is_a_path_reaches_nothing_outside(processes: ProcessHarness) -> None:
    backend = await processes.make()
    outside = processes.root.parent / "outside"
    outside.mkdir()
    (outside / "record.json").write_text("precious")

    assert await backend.terminate("../outside", grace=0.0) is True
    assert (outside / "record.json").read_text() == "precious"


async def test_a_process_that_was_started_but_not_recorded_is_found_by_its_mark(processes: ProcessHarness) -> None:
    first = await processes.make()
    remote = await first.launch(processes.order("a"))
    await processes.ready("a")
    await first.close()
    file = processes.root / "a" / "record.json"
    record = Record.model_validate_json(file.read_bytes())
    file.write_text(record.model_copy(update={"main": None}).model_dump_json())
    second = await processes.make()

    assert list(await second.list()) == [remote]
    assert await second.launch(processes.order("a")) == remote
    assert len(processes.processes("a")) == 1


async def test_files_that_resist_are_removed(processes: ProcessHarness) -> None:
    backend = await processes.make()
    await backend.launch(processes.order("a", "ungrateful"))
    await processes.ready("a")
    await end(backend, "a")

    assert [path.name for path in processes.root.iterdir()] == [".locks"]


async def test_what_an_interrupted_removal_left_is_cleared_at_the_next_start(processes: ProcessHarness) -> None:
    (processes.root / ".gone-a-12345678" / "state").mkdir(parents=True)
    await processes.make()

    assert [path.name for path in processes.root.iterdir()] == [".locks"]


async def test_the_last_words_are_told_without_control_characters(processes: ProcessHarness) -> None:
    backend = await processes.make()
    await backend.launch(processes.order("a", "fail"))
    async for told in backend.changes():
        assert told.message == "exited with code 3; last line of its log: the key was refused"
        break


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", ""),
        (b"\n\n  \n", ""),
        (b"first\nlast", "last"),
        (b"first\nlast\n\n", "last"),
        (b"progress 1%\rprogress 2%\r", "progress 2%"),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07\n", "red ]0;title"),
        (b"\xff\xfe broken\n", "\ufffd\ufffd broken"),
        ("\u202egpj.exe\n".encode(), "gpj.exe"),
        (b"x" * 9000, "x" * (LINE_LIMIT - 1) + "…"),
    ],
    ids=[
        "empty",
        "blank",
        "no newline",
        "blank end",
        "carriage returns",
        "escapes",
        "not UTF-8",
        "turned around",
        "long",
    ],
)
def test_the_last_line_of_a_log(tmp_path: Path, content: bytes, line: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(content)

    assert last_line(log) == line


def test_a_log_that_outgrew_its_cap_starts_anew_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 50)
        assert not keep_small(log, cap=100)
        writer.write(b"b" * 100)
        assert keep_small(log, cap=100)
        writer.write(b"after")

    assert log.read_bytes() == b"after"
    assert log.with_name("log.1").read_bytes() == b"b" * 100


async def test_zombies_do_not_pile_up(processes: ProcessHarness) -> None:
    backend = await processes.make()
    for uid in "abc":
        await backend.launch(processes.order(uid, command=[sys.executable, "-S", "-c", "pass"]))
    for uid in "abc":
        await end(backend, uid)

    children = psutil.Process().children()
    assert [child for child in children if child.status() == psutil.STATUS_ZOMBIE] == []
