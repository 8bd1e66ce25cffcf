"""What stands between a ledger and its Postgres, and does to the line what networks and servers do."""

import asyncio
import tempfile
from pathlib import Path
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict

from tests.postgres.plugin import with_parts

_NAME = ".s.PGSQL.5432"


class Line:
    """A proxy on a unix socket. Its fields may be changed at any time, and hold for open connections, too."""

    def __init__(self, upstream: str) -> None:
        self.refuses = False
        """New connections are closed at once."""
        self.speaks = asyncio.Event()
        """Cleared, nothing is forwarded in either direction and nothing is closed: a firewall that drops."""
        self.speaks.set()
        self.deaf = False
        """Requests arrive; the answer to the next one is lost, and the connection with it."""
        self.delay = 0.0
        """Seconds that each answer takes longer."""
        self.comes_as: str | None = None
        """New connections log in as this user, whoever they say they are."""
        self.accepted = 0
        self._upstream = upstream
        self._folder = tempfile.TemporaryDirectory(prefix="ap-")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The database behind it."""
        return with_parts(self._upstream, host=self._folder.name, port="5432")

    async def __aenter__(self) -> "Line":
        self._server = await asyncio.start_unix_server(self._serve, Path(self._folder.name) / _NAME)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._folder.cleanup()

    def cut(self) -> None:
        """Every connection breaks."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._keep()
        self._writers.add(writer)
        try:
            if not self.refuses:
                await self._connected(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # asyncio would log a handler that was cancelled as a mistake
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await self._connect()
        self._writers.add(other_writer)
        try:
            if self.comes_as is not None:
                other_writer.write(await _login(reader, self.comes_as))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forward(reader, other_writer, answers=False))
                tasks.create_task(self._forward(other_reader, writer, answers=True))
        except* OSError:
            pass
        finally:
            other_writer.transport.abort()
            self._writers.discard(other_writer)

    def _keep(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = conninfo_to_dict(self._upstream)
        host, port = str(parts.get("host") or "/var/run/postgresql"), str(parts.get("port") or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(65536):
            await self.speaks.wait()
            if answers and self.deaf:
                self.deaf = False
                break
            if answers and self.delay:
                await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


async def _login(reader: asyncio.StreamReader, user: str) -> bytes:
    """The first message of a connection, with another user in it: a length, a version, names and values."""
    length = int.from_bytes(await reader.readexactly(4), "big")
    content = await reader.readexactly(length - 4)
    words = content[4:].rstrip(b"\0").split(b"\0")
    words[words.index(b"user") + 1] = user.encode()
    content = content[:4] + b"\0".join(words) + b"\0\0"
    return (len(content) + 4).to_bytes(4, "big") + content
