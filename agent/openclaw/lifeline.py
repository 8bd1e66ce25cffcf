"""Runs OpenClaw so that it behaves as the supervisor expects of a gateway.

    python lifeline.py PORT GRACE_SECONDS PROGRAM [ARGUMENT...] --announce-fd N

OpenClaw neither announces its port nor notices that its supervisor is gone. This process, of which the supervisor holds
the standard input, does both for it: it writes the port to descriptor N once somebody listens there, and when its
standard input ends it kills OpenClaw and whatever OpenClaw started. The supervisor itself runs threads, where code
between fork and exec (preexec_fn) may deadlock; here is one thread, so PR_SET_PDEATHSIG can be set there, and even a
lifeline that is killed by kill -9 takes OpenClaw along.

OpenClaw starts helpers, and the agent starts commands, in process groups of their own. As a child subreaper (Linux)
this process inherits all of them once their parents end, and leaves none behind.

It is started by its path and imports nothing but the standard library, so that it is there in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 0.1
ON_LINUX = sys.platform == "linux"


class Gateway:
    """The running program, until it ended."""

    def __init__(self, pid: int, port: int, grace_seconds: float, announce: int, wake: int) -> None:
        self._pid = pid
        self._port = port
        self._grace_seconds = grace_seconds
        self._announce: int | None = announce
        self._wake = wake
        self._deadline: float | None = None
        self.ending = False

    def wait(self) -> int:
        """Look after it; its wait status."""
        while (status := _reap(self._pid)) is None:
            self._announce_port()
            ready, _, _ = select.select([0, self._wake], [], [], self._patience())
            if self._wake in ready:
                os.read(self._wake, 4096)
            if 0 in ready and not os.read(0, 4096):
                # Whoever starts the supervisor again wants port and state at once.
                os.kill(self._pid, signal.SIGKILL)
                return os.waitpid(self._pid, 0)[1]
            self._insist()
        return status

    def _announce_port(self) -> None:
        if self._announce is None:
            return
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), LOOK_SECONDS):
            os.write(self._announce, f"{self._port}\n".encode())
            os.close(self._announce)
            self._announce = None

    def _insist(self) -> None:
        """The supervisor signals the whole group, so the program knows; this only ends its grace."""
        if self.ending and self._deadline is None:
            self._deadline = time.monotonic() + self._grace_seconds
        if self._deadline is not None and time.monotonic() >= self._deadline:
            os.kill(self._pid, signal.SIGKILL)

    def _patience(self) -> float | None:
        if self._deadline is not None:
            return max(LOOK_SECONDS, self._deadline - time.monotonic())
        return None if self._announce is None else LOOK_SECONDS


def main() -> None:
    """Run the program and end as it ended."""
    port, grace, *program, _, announce = sys.argv[1:]
    if not _is_free(int(port)):
        sys.exit(f"The gateway's port 127.0.0.1:{port} is taken by another program: set GATEWAY_PORT, or 0 for any.")
    if ON_LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_inheritable(int(announce), False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gateway = Gateway(_spawn(program), int(port), float(grace), int(announce), wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: setattr(gateway, "ending", True))
    status = gateway.wait()
    _end_the_rest()
    _end_likewise(status)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _spawn(program: list[str]) -> int:
    own = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        if ON_LINUX:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != own:
            # The lifeline was killed before the line above.
            os._exit(1)
        # Python ignores SIGPIPE, and exec would hand that down to every command of the agent.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        # The lifeline stays ours alone.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(program[0], program)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        os.write(2, f"The gateway cannot be started: {error.strerror} ({program[0]}).\n".encode())
    finally:
        os._exit(127)


def _reap(pid: int) -> int | None:
    """Bury whoever ended; the wait status of the program once it did."""
    while True:
        dead, status = os.waitpid(-1, os.WNOHANG)
        if dead in {0, pid}:
            return status if dead else None


def _end_the_rest() -> None:
    """Kill what the program left behind: every kill hands us the children of the killed, until there are none."""
    with suppress(ChildProcessError):
        while True:
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    own = str(os.getpid())
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name in parentheses may hold anything, parentheses and spaces included.
            if path.read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                found.append(int(path.parent.name))
    return found


def _end_likewise(status: int) -> None:
    if os.WIFSIGNALED(status):
        # SIGKILL has no handler to take away, and says so.
        with suppress(OSError):
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
