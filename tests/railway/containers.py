"""Containers that are none: process groups on this host with directories of their own."""

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.railway import keeper
from tests.railway.records import Line

LINE_BYTES = 1 << 20
ENDING = 10.0
"""Seconds within which the kernel ends what was killed, however busy the machine is."""


class Container:
    """One run of a program."""

    def __init__(self, process: asyncio.subprocess.Process, replica: str, port: int, pipe: str) -> None:
        self.replica = replica
        self.port = port
        self.pipe = pipe
        """To which it writes, as the system names it."""
        self._process = process

    @property
    def pid(self) -> int:
        """Its first process, which leads its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """How it ended: an exit code, or a negative signal."""
        return await self._process.wait()

    def signal(self, number: int) -> None:
        """Signal its first process."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)

    async def stop(self, draining: float) -> None:
        """SIGTERM, and after the time for draining SIGKILL."""
        if self.running:
            self.signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(draining):
                    await self.wait()
        if self.running:
            self.kill()
            await self.wait()


class Containers:
    """Starts them below one directory, and leaves nothing behind."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root.resolve()
        self._clock = clock
        self._ports: deque[int] = deque(maxlen=1000)
        self._keeper: asyncio.subprocess.Process | None = None
        self._hiring = asyncio.Lock()
        self._reading: set[asyncio.Task[None]] = set()

    @property
    def root(self) -> Path:
        """Below which all directories are."""
        return self._root

    async def close(self) -> None:
        """End all that is left."""
        if self._keeper is not None and self._keeper.stdin is not None:
            self._keeper.stdin.close()
            await self._keeper.wait()
        if self._reading:
            await asyncio.wait(self._reading, timeout=ENDING)

    def free_port(self) -> int:
        """A port of the loopback interface that nobody has, and that was not given to anybody lately."""
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in self._ports:
                self._ports.append(port)
                return port

    async def start(
        self, command: tuple[str, ...], env: Mapping[str, str], directory: Path, log: deque[Line]
    ) -> Container:
        """Start a program; ``OSError`` when there is none."""
        await self._hire()
        read, write = os.pipe()
        pipe = f"pipe:[{os.fstat(write).st_ino}]"
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=env,
                cwd=directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                start_new_session=True,
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        container = Container(process, env["RAILWAY_REPLICA_ID"], int(env["PORT"]), pipe)
        self._tell("+", container)
        task = asyncio.create_task(self._read(read, log))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return container

    async def bury(self, container: Container) -> None:
        """End whatever an ended program left behind."""
        keeper.end_group(container.pid)
        replica = container.replica.encode()
        ours = keeper.below(str(self._root))
        await asyncio.to_thread(
            keeper.end_family,
            lambda environ: ours(environ) and environ.get(b"RAILWAY_REPLICA_ID") == replica,
            {container.pipe},
        )
        self._tell("-", container)

    async def _hire(self) -> None:
        """Start the keeper before the first program."""
        async with self._hiring:
            if self._keeper is None:
                self._keeper = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-S", "-E", keeper.__file__, str(self._root)),
                    stdin=asyncio.subprocess.PIPE,
                    start_new_session=True,
                )

    def _tell(self, what: str, container: Container) -> None:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(f"{what} {container.pid} {container.pipe}\n".encode())

    async def _read(self, descriptor: int, log: deque[Line]) -> None:
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while line := await _line(reader):
                log.append(Line(self._clock(), line.decode(errors="replace").rstrip("\n")))
        finally:
            transport.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The next line, or as much of it as is bearable; nothing at the end."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError:
        return await reader.read(LINE_BYTES)
