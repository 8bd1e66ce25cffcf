"""Logs of local processes: one stream, however often their files start anew, and for readers beside the operator."""

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.backends.process import open_backend, open_logs
from controller.backends.process.output import CHUNK, Reader, keep_small
from controller.errors import Missing, Refused
from controller.ports import Backend, BackendOptions, LaunchOrder
from tests.contract.backend.harness import PATIENCE, ProcessHarness, end, eventually

HOSTILE = bytes(range(256)) + b"\x1b]0;title\x07\xff\xfe\r\n\0last"


async def collect(chunks: AsyncIterator[bytes], until: bytes | None = None) -> bytes:
    """All of it, or as much as it takes to end with some bytes."""
    found = b""
    async with asyncio.timeout(PATIENCE):
        async for chunk in chunks:
            found += chunk
            if until is not None and found.endswith(until):
                break
    return found


def printing(processes: ProcessHarness, code: str) -> LaunchOrder:
    """An order for instance a, which runs a line of Python."""
    return processes.order("a", command=[sys.executable, "-S", "-u", "-c", f"import sys, time, os, signal; {code}"])


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and the time of its last change."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*")}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "log"
    file.touch()
    return file


def append(log: Path, content: bytes) -> None:
    with log.open("ab") as file:
        file.write(content)


async def test_every_byte_comes_through_as_it_was_written(processes: ProcessHarness) -> None:
    backend = await processes.make()
    await backend.launch(printing(processes, f"os.write(1, {HOSTILE!r})"))

    assert await collect(backend.logs("a", follow=True)) == HOSTILE
    assert await collect(backend.logs("a")) == HOSTILE


async def test_following_goes_on_while_the_log_starts_anew_again_and_again(processes: ProcessHarness) -> None:
    """Every line is seen once and in order, though the file shrinks under its reader every now and then."""
    backend = await processes.make()
    await backend.launch(printing(processes, "time.sleep(600)"))
    log, found, rotations = processes.root / "a" / "log", bytearray(), 0

    async def follow() -> None:
        async for chunk in backend.logs("a", follow=True):
            found.extend(chunk)

    lines = [b"%06d\n" % number for number in range(1200)]
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(PATIENCE):
        tasks.create_task(follow())
        for begin in range(0, len(lines), 60):
            # It may be behind by what was just written, not by more than fits into the older file.
            await eventually(lambda begin=begin: len(found) >= 7 * (begin - 60))
            append(log, b"".join(lines[begin : begin + 60]))
            rotations += keep_small(log, cap=900)
        await processes.kill_remote("a")

    assert rotations > 3
    assert bytes(found) == b"".join(lines)


def test_what_a_slow_reader_has_not_seen_yet_is_read_from_the_older_file(log: Path) -> None:
    append(log, b"a" * 80 + b"b" * 40)
    reader = Reader(log)
    position, chunk = reader.read(0, 70)
    keep_small(log, cap=100)
    append(log, b"c" * 10)
    rest = b""
    while chunk:
        position, chunk = reader.read(position, CHUNK)
        rest += chunk
    reader.close()

    assert rest == b"a" * 10 + b"b" * 40 + b"c" * 10
    assert position == 130


def test_what_has_left_the_older_file_too_is_skipped(log: Path) -> None:
    reader = Reader(log)
    for letter in (b"a", b"b", b"c"):
        append(log, letter * 150)
        keep_small(log, cap=100)
    position, chunk = reader.read(0, CHUNK)
    reader.close()

    assert (position, chunk) == (450, b"c" * 100)


def test_a_log_that_is_being_read_starts_anew_at_the_next_look(log: Path) -> None:
    append(log, b"a" * 150)
    with log.open("rb") as reading:
        fcntl.flock(reading, fcntl.LOCK_SH)
        assert not keep_small(log, cap=100)
    assert keep_small(log, cap=100)


def test_an_instance_that_locks_its_log_does_not_keep_it_from_readers(log: Path) -> None:
    append(log, b"content")
    with log.open("rb") as hostile:
        fcntl.flock(hostile, fcntl.LOCK_EX)
        reader = Reader(log)
        assert reader.read(0, CHUNK) == (7, b"content")
        reader.close()


def test_a_log_that_a_person_emptied_is_read_from_its_new_beginning(log: Path) -> None:
    append(log, b"a" * 50)
    reader = Reader(log)
    position, _ = reader.read(0, CHUNK)
    os.truncate(log, 0)
    append(log, b"new")
    _, chunk = reader.read(position, CHUNK)
    reader.close()

    assert chunk == b"new"


@settings(max_examples=60, deadline=None)
@given(
    older=st.binary(max_size=60),
    newer=st.binary(max_size=60),
    lines=st.integers(0, 12),
    size=st.sampled_from([1, 3, CHUNK]),
)
def test_the_last_lines_are_those_of_both_files_together(
    tmp_path_factory: pytest.TempPathFactory, older: bytes, newer: bytes, lines: int, size: int
) -> None:
    older, newer = older.replace(b"\x01", b"\n") + b"x" * 100, newer.replace(b"\x01", b"\n")
    log = tmp_path_factory.mktemp("log") / "log"
    append(log, older)
    keep_small(log, cap=len(older) - 1)
    append(log, newer)
    whole = older[1:] + newer
    reader = Reader(log)
    position, stop = reader.span(lines)
    found = b""
    while position < stop:
        position, chunk = reader.read(position, size)
        found += chunk
    reader.close()

    pieces = whole.split(b"\n")
    kept = [piece + b"\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
    assert found == b"".join(kept[len(kept) - lines :] if lines < len(kept) else kept)


async def test_following_ends_with_the_last_byte_of_an_instance_that_is_terminated(processes: ProcessHarness) -> None:
    backend = await processes.make()
    farewell = "signal.signal(15, lambda *_: (os.write(1, b'bye'), sys.exit()))"
    code = f"{farewell}; os.write(1, b'up,'); time.sleep(600)"
    await backend.launch(printing(processes, code))
    following = asyncio.create_task(collect(backend.logs("a", follow=True)))
    await eventually(lambda: (processes.root / "a" / "log").read_bytes() == b"up,")
    await end(backend, "a", grace=PATIENCE)

    assert await following == b"up,bye"
    with pytest.raises(Missing):
        await collect(backend.logs("a"))


async def test_following_waits_for_a_process_that_is_not_started_yet(processes: ProcessHarness) -> None:
    backend = await processes.make()
    await backend.launch(printing(processes, "time.sleep(600)"))
    file = processes.root / "a" / "log"
    file.rename(file.with_name("not-yet"))
    following = asyncio.create_task(collect(backend.logs("a", follow=True), until=b"begun"))
    await asyncio.sleep(0)
    append(file.with_name("not-yet"), b"begun")
    file.with_name("not-yet").rename(file)

    assert await following == b"begun"


async def test_logs_are_read_where_the_record_is_damaged(processes: ProcessHarness) -> None:
    backend = await processes.make()
    await backend.launch(printing(processes, "os.write(1, b'text'); time.sleep(600)"))
    await eventually((processes.root / "a" / "log").read_bytes)
    (processes.root / "a" / "record.json").write_text("{")

    assert await collect(backend.logs("a", follow=True), until=b"text") == b"text"


@pytest.mark.parametrize("uid", ["never-heard-of", "../a", "", "a"], ids=["unknown", "a path", "empty", "another's"])
async def test_what_is_not_of_this_installation_has_no_logs(processes: ProcessHarness, uid: str) -> None:
    theirs, ours = await processes.make("another-installation"), await processes.make()
    await theirs.launch(processes.order("a"))

    with pytest.raises(Missing, match="no files below"):
        await collect(ours.logs(uid))


async def test_a_reader_beside_the_operator_writes_nothing_and_sees_what_it_sees(processes: ProcessHarness) -> None:
    backend = await processes.make()
    await backend.launch(printing(processes, "os.write(1, b'one\\ntwo\\n'); time.sleep(600)"))
    await eventually(lambda: (processes.root / "a" / "log").stat().st_size == 8)
    before = tree(processes.root.parent)
    beside = (await open_logs(BackendOptions(processes.installation, processes.root.parent, (), {}))).backend
    read = await collect(beside.logs("a"))
    last = await collect(beside.logs("a", tail=1))
    await beside.close()

    assert (read, last) == (b"one\ntwo\n", b"two\n")
    assert tree(processes.root.parent) == before


async def test_a_reader_creates_nothing_where_there_is_nothing(tmp_path: Path) -> None:
    beside = (await open_logs(BackendOptions("i", tmp_path / "none", (), {}))).backend
    with pytest.raises(Missing):
        await collect(beside.logs("a"))

    assert not (tmp_path / "none").exists()


async def test_an_operator_opens_it_with_the_directory_that_readers_look_into(tmp_path: Path) -> None:
    backend = await open_backend(BackendOptions("i", tmp_path, ("sleep", "600"), {}))
    await backend.close()

    assert (tmp_path / "instances").is_dir()


async def test_a_process_cannot_be_paused_and_the_refusal_says_what_to_do(processes: ProcessHarness) -> None:
    backend = await processes.make()
    launched = await backend.launch(processes.order("a"))

    with pytest.raises(Refused, match=r"set warmStrategy to Running, or use backend\.docker") as refusal:
        await backend.pause("a")
    assert refusal.value.reason == "PauseUnsupported"
    assert await backend.resume("a") == launched
    assert await backend.rename("a", pool="pool", agent_name="Ada") == launched


@pytest.mark.parametrize("method", ["pause", "resume", "rename"])
async def test_another_installation_s_instance_is_missing(processes: ProcessHarness, method: str) -> None:
    theirs, ours = await processes.make("another-installation"), await processes.make()
    await theirs.launch(processes.order("a"))

    with pytest.raises(Missing):
        await ask(ours, method, "a")


async def ask(backend: Backend, method: str, uid: str) -> None:
    match method:
        case "pause":
            await backend.pause(uid)
        case "resume":
            await backend.resume(uid)
        case "rename":
            await backend.rename(uid, pool="pool", agent_name="Ada")
