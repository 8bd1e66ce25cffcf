"""The log of one instance as a stream, for any process that may read its files: nothing is written or signalled."""

import asyncio
from collections.abc import AsyncIterator

from controller.backends.process.homes import Damaged, Homes
from controller.backends.process.joint import carry_through
from controller.backends.process.output import CHUNK, Reader
from controller.backends.process.record import Record
from controller.backends.process.table import UID, Identity, boot_id, read_table, runs
from controller.errors import Missing, Refused

FOLLOW_SECONDS = 0.1
"""How often a followed log is looked at."""


class LogStream:
    """What an instance has written and, following, what it will write until it ends."""

    def __init__(self, homes: Homes, installation: str, uid: str) -> None:
        self._homes = homes
        self._installation = installation
        self._uid = uid
        self._main: Identity | None = None

    async def chunks(self, tail: int | None, *, follow: bool) -> AsyncIterator[bytes]:
        """All, or the last ``tail`` lines; ``Missing`` when this installation has no such instance here."""
        while (reader := await carry_through(self._open)) is None:
            if not follow or await carry_through(self._ended):
                return
            await asyncio.sleep(FOLLOW_SECONDS)
        try:
            position, end = await carry_through(reader.span, tail)
            while follow or position < end:
                # Looked at before reading: what it writes until its end is read then.
                ended = follow and await carry_through(self._ended)
                position, chunk = await carry_through(reader.read, position, CHUNK if follow else end - position)
                if chunk:
                    yield chunk
                elif ended or not follow:
                    return
                else:
                    await asyncio.sleep(FOLLOW_SECONDS)
        finally:
            reader.close()

    def _open(self) -> Reader | None:
        """``None`` while its process is not started yet."""
        record = self._record()
        if record is None or record.installation != self._installation:
            raise Missing(f"instance {self._uid} has no files below {self._homes.root}")
        try:
            return Reader(self._homes.log(self._uid))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Refused("LogNotReadable", f"{self._homes.log(self._uid)}: {error.strerror}") from error

    def _record(self) -> Record | None:
        """Its record; one that says nothing in place of a damaged one, ``None`` without a directory."""
        try:
            return self._homes.read(self._uid) if UID.fullmatch(self._uid) else None
        except (Damaged, PermissionError) as error:
            home = self._homes.root / self._uid
            if isinstance(error.__cause__ or error, PermissionError):
                message = f"{home} cannot be read: run this as the user of the operator"
                raise Refused("LogNotReadable", message) from error
            return Record(uid=self._uid, installation=self._installation, boot=boot_id())

    def _ended(self) -> bool:
        if self._main is None:
            record = self._record()
            if record is None or record.exit is not None:
                return True
            self._main = record.after_boot(boot_id()).main
        if self._main is None:
            # Killed at the wrong moment, a launch leaves a process that only its mark betrays.
            process = read_table(self._installation).main_of(self._uid)
            self._main = process.identity if process is not None else None
        return self._main is None or not runs(self._main)
