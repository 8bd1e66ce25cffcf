"""The queue on disk: whatever happens to the process or the disk, what it took is there, whole and in order."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from controller.core.transitions import derive
from controller.errors import Misconfigured
from controller.ledger.entries import Entry, entry_of, parsed
from controller.ledger.spool import Spool, SpoolFullError
from tests.core.builders import NOW, claim

LIMIT = 1024 * 1024
CREATED = re.compile(rb'"created":"[^"]*"')


def entry(name: str) -> Entry:
    return entry_of(derive(None, claim(name))[0], NOW, store_content=False)


def names(spool: Spool) -> list[str]:
    return [each.uid.removeprefix("uid-") for each, _ in spool.found()]


def filled(folder: Path, *these: str) -> Path:
    """The only segment of a spool that was left with entries of these names."""
    spool = Spool(folder, LIMIT)
    for name in these:
        spool.append([entry(name)])
    spool.close()
    [segment] = folder.glob("*.spool")
    return segment


def reopened(folder: Path) -> list[str]:
    spool = Spool(folder, LIMIT)
    found = names(spool)
    spool.close()
    return found


@pytest.mark.parametrize(
    "instead",
    [b'"made":"2026-11-27T23:00:00+00:00"', b'"created":null', b'"created":"soon"', b'"created":"2026-13-01"',
     b'"created":"0000-01-01"'],
)  # fmt: skip
def test_a_line_that_is_of_no_month_is_damaged_although_its_checksum_is_right(tmp_path: Path, instead: bytes) -> None:
    segment = filled(tmp_path, "a", "b")
    foreign = replace(entry("c"), item=CREATED.sub(instead, entry("c").item))
    segment.write_bytes(foreign.line + segment.read_bytes())
    spool = Spool(tmp_path, LIMIT)
    assert names(spool) == ["a", "b"]
    assert spool.damaged == 1
    spool.close()


def test_what_was_appended_is_found_by_the_next_process_in_order(tmp_path: Path) -> None:
    filled(tmp_path, "a", "b", "c")
    assert reopened(tmp_path) == ["a", "b", "c"]
    assert reopened(tmp_path) == ["a", "b", "c"]


def test_cut_off_at_any_byte_it_holds_every_line_before(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", "a", "b", "c").read_bytes()
    ends = [match.end() for match in re.finditer(b"\n", whole)]
    for length in range(ends[1] - 2, len(whole) + 1):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "000000000001.spool").write_bytes(whole[:length])
        survivors = ["a", "b", "c"][: sum(end <= length for end in ends)]
        spool = Spool(folder, LIMIT)
        assert names(spool) == survivors
        spool.append([entry("new")])
        spool.close()
        assert reopened(folder) == [*survivors, "new"]


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_line_costs_no_other(tmp_path: Path, seed: int) -> None:
    segment = filled(tmp_path, "a", "b", "c")
    content = bytearray(segment.read_bytes())
    lines = bytes(content).splitlines(keepends=True)
    at = len(lines[0]) + Random(seed).randrange(len(lines[1]) - 1)
    content[at] ^= 1 << Random(seed).randrange(7)
    segment.write_bytes(content)
    spool = Spool(tmp_path, LIMIT)
    assert names(spool) == ["a", "c"]
    assert spool.damaged >= 1
    spool.close()


def test_what_is_delivered_leaves_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    slots = [slot for number in range(2000) for slot in spool.append([entry(f"claim-{number}")])]
    assert len(list(tmp_path.glob("*.spool"))) > 3
    spool.delivered(slots[:1999])
    assert len(list(tmp_path.glob("*.spool"))) == 1
    spool.delivered(slots[1999:])
    assert spool.size == sum(path.stat().st_size for path in tmp_path.glob("*.spool")) == 0
    spool.close()
    assert reopened(tmp_path) == []


def test_when_it_is_full_it_takes_all_or_nothing_until_there_is_room_again(tmp_path: Path) -> None:
    size = len(entry("a").line)
    spool = Spool(tmp_path, 20 * size)
    slots = [slot for name in "abcdefghijklmnopqr" for slot in spool.append([entry(name)])]
    rooms = [spool.has_room]
    with pytest.raises(SpoolFullError):
        spool.append([entry(name) for name in "stu"])
    slots += spool.append([entry("s"), entry("t")])
    assert spool.size == 20 * size
    rooms.append(spool.has_room)
    spool.delivered(slots)
    rooms.append(spool.has_room)
    assert rooms == [True, False, True]
    spool.append([entry("late")])
    spool.close()
    assert reopened(tmp_path) == ["late"]


def test_an_entry_is_read_back_as_it_was(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    first, second = entry("a"), entry("ü\n\u2028")
    slots = spool.append([first, second])
    assert [spool.read(slot) for slot in slots] == [first.item, second.item]
    spool.close()


def test_what_postgres_cannot_hold_is_replaced() -> None:
    odd = derive(None, claim("a", agentName="A\0da"))[0]
    kept = entry_of(odd, NOW, store_content=False)
    assert b"\\u0000" not in kept.item
    assert b"A\xef\xbf\xbdda" in kept.item
    assert parsed(kept.line) == kept


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    segment = filled(tmp_path / "spool", "a")
    assert segment.stat().st_mode & 0o077 == 0
    assert segment.parent.stat().st_mode & 0o077 == 0


def test_a_second_process_is_told_that_the_directory_is_taken(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    with pytest.raises(Misconfigured, match=r"another operator has the ledger's directory .* open: end it, or give"):
        Spool(tmp_path, LIMIT)
    spool.close()
    assert reopened(tmp_path) == []


def test_a_directory_that_cannot_be_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match=r"cannot be used \(Not a directory\): make it writable, or name another"):
        Spool(tmp_path / "file" / "spool", LIMIT)


_FULL_DISK = """
import resource, sys
from pathlib import Path
from controller.ledger.spool import Spool
from tests.ledger.test_spool import entry

spool = Spool(Path(sys.argv[1]), 1 << 20)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
for number in range(1000):
    try:
        spool.append([entry(f"before-{number}")])
    except OSError as error:
        print(number, error.errno)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.append([entry("after")])
"""


def test_a_disk_that_is_full_for_a_while_leaves_no_half_a_line(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    taken = int(run.stdout.split()[0])
    assert taken > 0
    assert reopened(tmp_path) == [*(f"before-{number}" for number in range(taken)), "after"]


_WRITER = """
import sys
from pathlib import Path
from controller.ledger.spool import Spool
from tests.ledger.test_spool import entry

spool = Spool(Path(sys.argv[1]), 1 << 30)
begin = sum(1 for _ in spool.found())
number = begin
while True:
    spool.append([entry(f"n{number}")])
    print(number, flush=True)
    number += 1
"""


def test_killed_again_and_again_it_has_all_that_it_took(tmp_path: Path) -> None:
    random, acknowledged = Random(7), -1
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, bufsize=1
        ) as process:
            assert process.stdout is not None
            acknowledged = int(process.stdout.readline())
            time.sleep(random.random() * 0.05)
            os.kill(process.pid, signal.SIGKILL)
            for line in process.stdout:
                if line.endswith("\n"):
                    acknowledged = int(line)
    found = reopened(tmp_path)
    assert found == [f"n{number}" for number in range(len(found))]
    assert len(found) > acknowledged
