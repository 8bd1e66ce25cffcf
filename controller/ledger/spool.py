"""The spool: a bounded queue on disk. What was appended survives a kill at any byte; power cuts, once it was synced.

Segments are files to which lines are appended; one whose lines were all delivered is deleted. There is no file that
says how far delivery has come: after a restart the lines of a segment are delivered again, which is harmless.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controller.errors import Misconfigured
from controller.ledger.entries import Entry, parsed

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 1024 * 1024
_SUFFIX = ".spool"


class SpoolFullError(Exception):
    """The spool holds as much as it may."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a line is."""

    segment: int
    offset: int
    length: int


class _Segment:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.fd).st_size
        self.waiting = 0
        self.sealed = False
        """Nothing more is appended, since nobody knows what stands at its end, or it cannot be read."""

    def cut(self, size: int) -> None:
        """Have it end there."""
        try:
            os.ftruncate(self.fd, size)
            self.size = size
        except OSError:
            self.sealed = True

    def erase(self) -> None:
        os.close(self.fd)
        self.path.unlink(missing_ok=True)


class Spool:
    """One directory with segments; one process at a time may have it open."""

    def __init__(self, directory: Path, limit: int) -> None:
        """Open or make it. ``limit`` in bytes. ``Misconfigured``: it cannot be used."""
        self.directory = directory
        self.damaged = 0
        """Lines that were torn or damaged, and left out."""
        self._limit = limit
        self._segment_bytes = max(4096, min(SEGMENT_BYTES, limit // 8))
        self._segments: dict[int, _Segment] = {}
        self._dirty: set[int] = set()
        self._grown = False
        self._next = 1
        self._found: list[tuple[Entry, Slot]] = []
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take_lock()
            for path in sorted(directory.glob(f"*{_SUFFIX}")):
                self._read(path)
        except OSError as error:
            raise Misconfigured(
                f"the ledger's directory {directory} cannot be used ({error.strerror}): make it writable, or name "
                "another with AGENTPOOL_LEDGER_SPOOL_DIR"
            ) from None

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments.values())

    @property
    def has_room(self) -> bool:
        """Whether a tenth of it is free again."""
        return self.size <= self._limit * 0.9

    def found(self) -> Iterator[tuple[Entry, Slot]]:
        """What an earlier process left, in order; told once."""
        found, self._found = self._found, []
        return iter(found)

    def append(self, entries: list[Entry]) -> list[Slot]:
        """Add lines at the end, all or none. ``SpoolFullError``, or what the system says: ``OSError``."""
        lines = [entry.line for entry in entries]
        whole = b"".join(lines)
        if self.size + len(whole) > self._limit:
            raise SpoolFullError
        number, segment = self._current()
        offset = segment.size
        self._write(segment, whole)
        self._dirty.add(number)
        segment.waiting += len(entries)
        slots = []
        for line in lines:
            slots.append(Slot(number, offset, len(line)))
            offset += len(line)
        return slots

    def read(self, slot: Slot) -> bytes:
        """The JSON of the entry there; empty when the disk gives back nothing, or something else."""
        segment = self._segments[slot.segment]
        try:
            line = os.pread(segment.fd, slot.length, slot.offset)
        except OSError as error:
            if not segment.sealed:
                log.warning("what waits in %s cannot be read again: %s", segment.path, error.strerror)
            segment.sealed = True
            return b""
        entry = parsed(line)
        return entry.item if entry is not None else b""

    def delivered(self, slots: list[Slot]) -> None:
        """Those lines are needed no more."""
        for slot in slots:
            self._segments[slot.segment].waiting -= 1
        for number in {slot.segment for slot in slots}:
            self._tidy(number)

    def unsynced(self) -> list[int]:
        """Copies of the descriptors to hand to ``sync``: what was appended since the last time."""
        # Copies, since a segment may be delivered and closed while a thread waits for the disk.
        copies = [os.dup(self._segments[number].fd) for number in self._dirty if number in self._segments]
        self._dirty.clear()
        if self._grown:
            copies.append(os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            self._grown = False
        return copies

    @staticmethod
    def sync(descriptors: list[int]) -> None:
        """Have the disk itself hold them, and close them. Blocks; may run in a thread beside everything else."""
        try:
            for descriptor in descriptors:
                os.fsync(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    @property
    def dirty(self) -> bool:
        """Whether anything was appended since the last ``sync``."""
        return bool(self._dirty)

    def close(self) -> None:
        """Sync and let go; what was not delivered stays."""
        try:
            self.sync(self.unsynced())
        except OSError as error:
            log.warning("the ledger's directory %s could not be synced: %s", self.directory, error.strerror)
        for segment in self._segments.values():
            os.close(segment.fd)
        self._segments.clear()
        os.close(self._lock)

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Misconfigured(
                f"another operator has the ledger's directory {self.directory} open: end it, or give this one a "
                "directory of its own with AGENTPOOL_LEDGER_SPOOL_DIR"
            ) from None

    def _read(self, path: Path) -> None:
        if not (path.stem.isascii() and path.stem.isdigit()):
            return
        number = int(path.stem)
        segment = self._segments[number] = _Segment(path)
        self._next = max(self._next, number + 1)
        content, offset, good = path.read_bytes(), 0, 0
        for line in content.splitlines(keepends=True):
            entry = parsed(line) if line.endswith(b"\n") else None
            if entry is not None:
                self._found.append((entry, Slot(number, offset, len(line))))
                segment.waiting += 1
                good = offset + len(line)
            else:
                self.damaged += 1
            offset += len(line)
        if good < len(content):
            # The end is torn: what is appended must begin on a line of its own.
            segment.cut(good)
        if segment.waiting == 0:
            del self._segments[number]
            segment.erase()

    def _current(self) -> tuple[int, _Segment]:
        last = max(self._segments, default=None)
        if last is not None and not self._segments[last].sealed and self._segments[last].size < self._segment_bytes:
            return last, self._segments[last]
        number = self._next
        segment = self._segments[number] = _Segment(self.directory / f"{number:012d}{_SUFFIX}")
        self._next += 1
        self._grown = True
        if last is not None:
            self._tidy(last)
        return number, segment

    def _write(self, segment: _Segment, whole: bytes) -> None:
        try:
            written = os.write(segment.fd, whole)
            if written < len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # Half a line must not stand before the next one.
            segment.cut(segment.size)
            raise
        segment.size += written

    def _tidy(self, number: int) -> None:
        segment = self._segments[number]
        if segment.waiting > 0:
            return
        if number != max(self._segments):
            del self._segments[number]
            segment.erase()
        elif segment.size > 0:
            segment.cut(0)
