"""The process table of the host at one moment, and who in it belongs to which instance."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from controller.errors import Transient

INSTANCE_MARK = "AGENTPOOL_INSTANCE"
"""Environment variable that carries the uid of the instance in every one of its processes."""
INSTALLATION_MARK = "AGENTPOOL_INSTALLATION"
"""Environment variable that names the installation which made the instance."""

UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What can be a uid, and so the name of a directory."""

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
_EXEC_TRIES = 3
_EXEC_SECONDS = 0.0002


class Identity(NamedTuple):
    """One process for good: a pid is used again, but not with the same start time (clock ticks since boot)."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the table."""

    identity: Identity
    parent: int
    group: int
    session: int
    ended: bool
    """A zombie: it holds its pid until its parent asks for its exit status, and nothing else."""
    rss: int
    """Resident memory in bytes; pages that it shares with others count in full."""
    uid: str | None = None
    """The instance that its environment names, when it is one of this installation."""
    port: int | None = None
    """PORT in the environment of a marked process."""


class Table:
    """Processes at one moment."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._by_pid: dict[int, Process] = {}
        self._by_parent: defaultdict[int, list[Process]] = defaultdict(list)
        self._by_group: defaultdict[int, list[Process]] = defaultdict(list)
        self._by_session: defaultdict[int, list[Process]] = defaultdict(list)
        self._by_uid: defaultdict[str, list[Process]] = defaultdict(list)
        for process in processes:
            self._by_pid[process.identity.pid] = process
            self._by_parent[process.parent].append(process)
            self._by_group[process.group].append(process)
            self._by_session[process.session].append(process)
            if process.uid is not None:
                self._by_uid[process.uid].append(process)

    def find(self, identity: Identity | None) -> Process | None:
        """The process itself, a zombie included; never another one that got its pid."""
        process = self._by_pid.get(identity.pid) if identity is not None else None
        return process if process is not None and process.identity == identity else None

    def alive(self, identity: Identity | None) -> bool:
        """Whether the process runs."""
        process = self.find(identity)
        return process is not None and not process.ended

    @property
    def uids(self) -> Collection[str]:
        """Instances that have a marked process."""
        return self._by_uid.keys()

    def main_of(self, uid: str) -> Process | None:
        """The marked process that was started as the instance: the oldest one that leads a session."""
        marked = self._by_uid.get(uid, ())
        leaders = [process for process in marked if process.session == process.identity.pid]
        return min(
            leaders or marked, key=lambda process: (process.identity.started, process.identity.pid), default=None
        )

    def family(self, uid: str, main: Identity | None, kin: Collection[Identity]) -> list[Process]:
        """Every living process of an instance.

        By the mark in the environment, by session and group of the main process, by being known already (``kin``), and
        everything that descends from those. What escapes: a process that left the session, cleaned its environment and
        lost its parent, all three, before it was seen for the first time.
        """
        waiting = [*self._by_uid.get(uid, ()), *filter(None, map(self.find, kin))]
        # Session and group ids are pids: once the main process is gone they may be another session's.
        if main is not None and self.find(main) is not None:
            waiting += [*self._by_session.get(main.pid, ()), *self._by_group.get(main.pid, ())]
        found: dict[int, Process] = {os.getpid(): _NOBODY}
        while waiting:
            process = waiting.pop()
            if process.identity.pid not in found:
                found[process.identity.pid] = process
                waiting += self._by_parent.get(process.identity.pid, ())
        return [process for process in found.values() if not process.ended]


_NOBODY = Process(Identity(0, 0), 0, 0, 0, ended=True, rss=0)


def read_table(installation: str) -> Table:
    """Read the table; about 40 microseconds per process of the host. ``Transient``: it cannot be read now."""
    try:
        names = os.listdir(PROC)  # noqa: PTH208 - a name is all that is needed
    except OSError as error:
        raise _unreadable(error) from error
    pids = [int(name) for name in names if name.isdecimal()]
    return Table(process for pid in pids if (process := _read(pid, installation)) is not None)


def identify(pid: int) -> Identity | None:
    """The identity of whatever has that pid now. ``Transient``: it cannot be looked at."""
    process = _read(pid, None)
    return process.identity if process is not None else None


def runs(identity: Identity) -> bool:
    """Whether exactly that process runs; a zombie does not."""
    process = _read(identity.pid, None)
    return process is not None and process.identity == identity and not process.ended


def boot_id() -> str:
    """Names the run of the kernel: start times of another run mean nothing."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _read(pid: int, installation: str | None) -> Process | None:
    stat = _content(pid, "stat")
    if not stat:
        return None
    # The name of the program may hold spaces and brackets: fields are counted from its closing bracket.
    fields = stat[stat.rfind(b")") + 2 :].split()
    # A leader whose other threads run on looks like a zombie and is none.
    ended = fields[0] in {b"Z", b"X"} and int(fields[17]) <= 1
    # A kernel thread has no memory, and so no environment.
    bare = installation is None or ended or fields[20] == b"0"
    uid, port = (None, None) if bare else _mark(pid, installation or "")
    return Process(
        identity=Identity(pid, int(fields[19])),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        ended=ended,
        rss=int(fields[21]) * PAGE,
        uid=uid,
        port=port,
    )


def _mark(pid: int, installation: str) -> tuple[str | None, int | None]:
    content = _content(pid, "environ")
    for _ in range(_EXEC_TRIES):
        if content:
            break
        # Either it has none, or it is just becoming another program: then it has none for some microseconds.
        time.sleep(_EXEC_SECONDS)
        content = _content(pid, "environ")
    if INSTANCE_MARK.encode() not in content:
        return None, None
    return marked(content, installation)


def marked(content: bytes, installation: str) -> tuple[str | None, int | None]:
    """The instance and its port that an environment names, as far as it is one of this installation."""
    variables = dict(
        entry.decode(errors="surrogateescape").split("=", 1) for entry in content.split(b"\0") if b"=" in entry
    )
    uid, port = variables.get(INSTANCE_MARK, ""), variables.get("PORT", "")
    if variables.get(INSTALLATION_MARK) != installation or not UID.fullmatch(uid):
        return None, None
    # Its processes choose their environment themselves.
    return uid, int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else None


def _content(pid: int, name: str) -> bytes:
    """A file of a process; empty when the process is gone, is ending, or is somebody else's.

    ``Transient`` for everything else: who has no descriptor or no memory left has not seen that a process ended.
    """
    try:
        file = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
        try:
            chunks = []
            while chunk := os.read(file, 1 << 16):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            os.close(file)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> Transient:
    return Transient(
        f"the process table cannot be read ({error.strerror}): free memory, or raise ulimit -n", retry_after=5.0
    )
