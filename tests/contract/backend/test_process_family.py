"""An instance is all of its processes: none of them survives it, none of somebody else's is touched."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import psutil
import pytest

from controller.backends.process.memory import exceeds
from controller.backends.process.table import Identity, identify, read_table
from controller.errors import Transient
from controller.model.quantities import memory_bytes
from controller.ports import Backend, Remote, RemoteState
from tests.contract.backend.harness import PATIENCE, ProcessHarness, end, eventually


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any instance, in a session of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def offspring(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def open_files(pid: int) -> dict[str, str]:
    return {file.name: str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}


def expendable(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def ended(backend: Backend, uid: str) -> bool:
    try:
        return await backend.terminate(uid, grace=0.0)
    except Transient:
        return False


async def changed(changes: AsyncIterator[Remote]) -> Remote:
    async with asyncio.timeout(PATIENCE):
        return await anext(changes)


def main_pid(remote: Remote) -> int:
    return int(remote.backend_id.removeprefix("pid "))


def edit_record(world: ProcessHarness, uid: str, **changes: object) -> None:
    file = world.root / uid / "record.json"
    file.write_bytes(orjson.dumps({**orjson.loads(file.read_bytes()), **changes}))


@pytest.mark.parametrize("restart", [False, True], ids=["by the same controller", "by the next controller"])
async def test_children_end_with_their_instance_wherever_they_hide(processes: ProcessHarness, restart: bool) -> None:
    backend = await processes.make()
    pid = main_pid(await backend.launch(processes.order("a", "parent")))
    await processes.ready("a")
    await eventually(lambda: len(offspring(pid)) == 4)
    family = [psutil.Process(pid), *offspring(pid)]
    if restart:
        await backend.close()
        backend = await processes.make()

    await end(backend, "a", grace=0.5)
    assert [process for process in family if alive(process)] == []


async def test_children_that_outlive_their_parent_end_with_the_instance(processes: ProcessHarness) -> None:
    backend = await processes.make()
    pid = main_pid(await backend.launch(processes.order("a", "orphaner")))
    await processes.ready("a")
    [child] = await eventually(lambda: offspring(pid))
    psutil.Process(pid).kill()
    await eventually(lambda: not [p for p in processes.processes("a") if p.pid == pid])
    assert child.is_running()

    [remote] = await backend.list()
    assert remote.state is RemoteState.EXITED
    await end(backend, "a", grace=0.2)
    assert processes.processes("a") == []


async def test_a_process_that_may_not_be_killed_is_named(
    processes: ProcessHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    backend = await processes.make()
    pid = main_pid(await backend.launch(processes.order("a")))
    await processes.ready("a")
    # Whoever runs the tests may be root, who is never refused.
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    with pytest.raises(Transient, match=f"process {pid} of the instance runs as another user"):
        await backend.terminate("a", grace=0.0)

    monkeypatch.undo()
    await eventually(lambda: ended(backend, "a"))


async def test_children_are_known_after_a_restart_in_the_middle_of_an_end(processes: ProcessHarness) -> None:
    first = await processes.make()
    pid = main_pid(await first.launch(processes.order("a", "parent")))
    await processes.ready("a")
    await eventually(lambda: len(offspring(pid)) == 4)
    main, family = psutil.Process(pid), offspring(pid)
    await first.terminate("a", grace=3600.0)
    # From here on the child without any environment is nobody's child.
    await eventually(lambda: not alive(main))
    await first.close()

    await end(await processes.make(), "a", grace=0.2)
    assert [process for process in family if alive(process)] == []


async def test_an_end_that_was_begun_goes_on_by_itself_after_a_restart(processes: ProcessHarness) -> None:
    first = await processes.make()
    await first.launch(processes.order("a", "stubborn"))
    await processes.ready("a")
    await first.terminate("a", grace=0.5)
    await first.close()
    second = await processes.make()

    assert (await changed(second.changes())).uid == "a"
    await eventually(lambda: not (processes.root / "a").exists())
    assert processes.processes("a") == []


async def test_a_pid_that_means_another_process_by_now_is_left_alone(processes: ProcessHarness) -> None:
    backend = await processes.make()
    remote = await backend.launch(processes.order("a"))
    await backend.close()
    psutil.Process(main_pid(remote)).kill()
    with bystander() as innocent:
        now = identify(innocent.pid)
        assert now is not None
        edit_record(processes, "a", main=[innocent.pid, now.started - 1], kin=[[innocent.pid, now.started - 1]])
        backend = await processes.make()

        [listed] = await backend.list()
        assert listed.state is RemoteState.EXITED
        await end(backend, "a")
        assert innocent.poll() is None


async def test_after_a_restart_of_the_host_no_record_means_a_process(processes: ProcessHarness) -> None:
    backend = await processes.make()
    remote = await backend.launch(processes.order("a"))
    await backend.close()
    psutil.Process(main_pid(remote)).kill()
    with bystander() as innocent:
        edit_record(processes, "a", main=list(identify(innocent.pid) or ()), boot="another-run-of-the-kernel")
        backend = await processes.make()

        [listed] = await backend.list()
        assert listed.state is RemoteState.EXITED
        await end(backend, "a")
        assert innocent.poll() is None


async def test_an_instance_without_its_directory_is_still_known_and_can_be_ended(processes: ProcessHarness) -> None:
    first = await processes.make()
    remote = replace(await first.launch(processes.order("a")), namespace="")
    await processes.ready("a")
    await first.close()
    shutil.rmtree(processes.root)
    backend = await processes.make()

    assert list(await backend.list()) == [remote]
    assert await backend.launch(processes.order("a")) == remote
    assert len(processes.processes("a")) == 1
    await end(backend, "a")
    assert processes.processes("a") == []
    assert list(await backend.list()) == []


async def test_an_instance_runs_in_a_session_of_its_own_without_a_terminal(processes: ProcessHarness) -> None:
    backend = await processes.make()
    pid = main_pid(await backend.launch(processes.order("a")))
    await processes.ready("a")

    assert os.getsid(pid) == pid
    assert psutil.Process(pid).terminal() is None
    files = open_files(pid)
    assert files["0"] == "/dev/null"
    assert {file for file in files.values() if file.startswith(str(processes.root))} == {str(processes.root / "a/log")}


async def test_the_first_to_go_when_the_host_runs_out_of_memory_is_an_instance(processes: ProcessHarness) -> None:
    backend = await processes.make()
    pid = main_pid(await backend.launch(processes.order("a")))
    await processes.ready("a")

    assert expendable(pid) > expendable(os.getpid())


async def test_an_instance_that_exceeds_its_memory_limit_is_killed_with_all_its_processes(
    processes: ProcessHarness,
) -> None:
    backend = await processes.make()
    # No single process of it uses more than 128Mi.
    await backend.launch(processes.order("a", "greedy", resources={"memory": "128Mi"}))
    await backend.launch(processes.order("modest", resources={"memory": "128Mi"}))
    told = await changed(backend.changes())

    assert (told.uid, told.state) == ("a", RemoteState.EXITED)
    assert told.message == "exceeded its memory limit of 128Mi and was killed"
    await eventually(lambda: not processes.processes("a"))
    assert len(processes.processes("modest")) == 1


async def test_the_limit_is_kept_by_the_next_controller(processes: ProcessHarness) -> None:
    first = await processes.make()
    await first.launch(processes.order("a", "greedy"))
    await first.close()
    edit_record(processes, "a", memory="100M")
    second = await processes.make()

    assert "exceeded its memory limit of 100M" in (await changed(second.changes())).message


async def test_memory_that_processes_share_is_counted_once(processes: ProcessHarness) -> None:
    code = "import os, time; block = b'x' * (60 << 20); [os.fork() for _ in range(2)]; time.sleep(600)"
    backend = await processes.make()
    await backend.launch(processes.order("a", command=[sys.executable, "-S", "-c", code]))
    limit = memory_bytes("128Mi")

    def grown() -> bool:
        family = read_table(processes.installation).family("a", None, ())
        return len(family) == 4 and sum(process.rss for process in family) > limit

    await eventually(grown)
    family = read_table(processes.installation).family("a", None, ())
    assert not exceeds(family, limit)
    assert exceeds(family, memory_bytes("32Mi"))


@pytest.mark.parametrize(
    ("written", "size"),
    [("1", 1), ("5k", 5000), ("2Ki", 2048), ("512Mi", 512 << 20), ("1G", 10**9), ("3Gi", 3 << 30), ("1T", 10**12)],
)
def test_a_limit_is_read_as_kubernetes_reads_it(written: str, size: int) -> None:
    assert memory_bytes(written) == size


def test_an_identity_is_that_of_one_process_only() -> None:
    mine = identify(os.getpid())
    assert mine is not None
    table = read_table("test")

    assert table.alive(mine)
    assert not table.alive(Identity(mine.pid, mine.started + 1))
