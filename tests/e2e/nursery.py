"""Operators as forks of one process that has imported them already.

The imports are most of what a start costs, and the suites start hundreds of operators. A fork runs the same ``main``
with its own arguments, environment, directory and output; only what its process was called is another.
"""

import contextlib
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

READ_AT_IMPORT = ("PYTHONPATH", "HOME", "KUBECONFIG")
"""Variables that a fork has no use for: where modules are found, and kubeconfigs (the client keeps that place)."""
_LENGTH = 8
"""How many digits each number has that goes over a line."""


class Forked:
    """A process that the nursery forked, with what ``subprocess.Popen`` has for one."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.args = "a fork of the nursery"
        self.returncode: int | None = None
        self.pid = int(self._heard())

    def poll(self) -> int | None:
        """How it ended; ``None`` while it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, once it has; ``subprocess.TimeoutExpired``."""
        if (code := self._ended(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._line, selectors.EVENT_READ)
                if selector.select(seconds):
                    self.returncode = int(self._heard())
                    self._line.close()
        return self.returncode

    def _heard(self) -> bytes:
        said = self._line.recv(_LENGTH, socket.MSG_WAITALL)
        if not said:
            raise ChildProcessError("the nursery has died")
        return said


class Nursery:
    """The process that forks; it ends when whoever started it does."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, output: int, errors: int
    ) -> Forked:
        """Run ``main`` there with these arguments, the program's name first; what it says goes to those files."""
        ours, theirs = socket.socketpair()
        words = json.dumps([list(arguments), dict(environment), str(folder)]).encode()
        with theirs, Path(os.devnull).open("rb") as nothing:
            files = [theirs.fileno(), nothing.fileno(), output, errors]
            socket.send_fds(self._line, [_written(len(words))], files)
            self._line.sendall(words)
        return Forked(ours)

    def end(self) -> None:
        self._line.close()
        self.process.wait()


class _Server:
    """The loop inside: forks on request, and says of each how it ended."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._children: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(line, selectors.EVENT_READ)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._waker.fileno())

    def children(self) -> bool:
        """Serve until the line is closed; True in each child, which goes on as a program."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    with contextlib.suppress(BlockingIOError):
                        self._woken.recv(4096)
                    self._bury()
                elif (wish := self._wish()) is None:
                    return False
                elif self._fork(*wish):
                    return True

    def _wish(self) -> tuple[list[int], Any] | None:
        length, files, _, _ = socket.recv_fds(self._line, _LENGTH, 4)
        if not length:
            return None
        words = b""
        while len(words) < int(length):
            words += self._line.recv(int(length) - len(words))
        return files, json.loads(words)

    def _fork(self, files: list[int], words: Any) -> bool:
        line = socket.socket(fileno=files[0])
        if pid := os.fork():
            for file in files[1:]:
                os.close(file)
            self._children[pid] = line
            line.sendall(_written(pid))
            return False
        self._let_go(line)
        for number, file in enumerate(files[1:]):
            os.dup2(file, number)
            os.close(file)
        sys.argv, environment, folder = words
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        return True

    def _let_go(self, line: socket.socket) -> None:
        """What the child has inherited and must not hold open."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for held in (line, self._line, self._woken, self._waker, *self._children.values()):
            held.close()

    def _bury(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._children.pop(pid) as line, contextlib.suppress(OSError):
                line.sendall(_written(os.waitstatus_to_exitcode(status)))


def _written(number: int) -> bytes:
    return f"{number:{_LENGTH}d}".encode()


def _serve() -> bool:
    # As the installed script has it: without this folder, whose modules have everyday names.
    sys.path[0] = str(Path(sys.executable).parent)
    import controller  # noqa: PLC0415

    for module in pkgutil.walk_packages(controller.__path__, "controller."):
        importlib.import_module(module.name)
    return _Server(socket.socket(fileno=int(sys.argv[1]))).children()


if __name__ == "__main__" and _serve():
    from controller.__main__ import main

    main()
