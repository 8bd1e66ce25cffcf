"""What an instance writes to its standard output and error: the file ``log`` in its directory."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from controller.backends.last_line import last_line_of

CAP_BYTES = 16 * 1024 * 1024
"""A log beyond this size is moved to ``log.1`` and starts anew; at most two such files are kept."""
CHUNK = 1 << 18
_TAIL_BYTES = 4096
_LOCK_TRIES, _LOCK_SECONDS = 100, 0.01


def last_line(log: Path) -> str:
    """The last line of a log with anything in it, for a status message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            return last_line_of(file.read(_TAIL_BYTES))
    except OSError:
        return ""


def keep_small(log: Path, cap: int = CAP_BYTES) -> bool:
    """Start a log that outgrew its cap anew; True when it did.

    The instance holds the file open and appends, so its content moves, not the file. Lines written between copying
    and truncating are lost, as with every logrotate that copies.
    """
    try:
        if log.stat().st_size <= cap:
            return False
        with log.open("r+b") as file:
            # Whoever reads must not see it half moved. Readings are short, and the next look is soon.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with log.with_name("log.1").open("wb") as older:
                file.seek(-cap, os.SEEK_END)
                while chunk := file.read(CHUNK):
                    older.write(chunk)
            _set_start(log, _start_of(log, 0) + file.tell())
            file.truncate(0)
    except (FileNotFoundError, BlockingIOError):
        return False
    return True


class Reader:
    """Reads a log as one stream of bytes, whatever of it moves to ``log.1`` meanwhile; writes nothing.

    Positions count from the first byte that the instance ever wrote. What has left ``log.1`` too is skipped. It goes
    on after the directory was removed, to the last byte. All methods block for a few file operations.
    """

    def __init__(self, log: Path) -> None:
        """Open it; ``OSError`` when it cannot be."""
        self._log = log
        self._file = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._start = 0

    def close(self) -> None:
        """Close it."""
        os.close(self._file)

    def span(self, tail: int | None) -> tuple[int, int]:
        """Where the last ``tail`` lines begin, or all there is, and where it ends by now."""
        with self._at_rest() as older:
            first = self._start - os.fstat(older).st_size if older is not None else self._start
            end = self._start + os.fstat(self._file).st_size
            return first if tail is None else self._begin_of_last(tail, first, end, older), end

    def read(self, position: int, limit: int) -> tuple[int, bytes]:
        """Some of what comes at or after a position, and the position after it; nothing at the end."""
        with self._at_rest() as older:
            if position < self._start:
                first = self._start - os.fstat(older).st_size if older is not None else self._start
                position = max(position, first)
            elif position > self._start + os.fstat(self._file).st_size:
                # A person emptied it.
                position = self._start
            chunk = self._bytes(position, min(limit, CHUNK), older)
            return position + len(chunk), chunk

    def _begin_of_last(self, lines: int, first: int, end: int, older: int | None) -> int:
        if lines <= 0 or end <= first:
            return end
        # A newline at the very end ends the last line, and begins none.
        missing, position = lines + (self._bytes(end - 1, 1, older) == b"\n"), end
        while position > first:
            begin = max(first, position - CHUNK)
            chunk = self._bytes(begin, position - begin, older)
            at = len(chunk)
            while missing and (at := chunk.rfind(b"\n", 0, at)) >= 0:
                missing -= 1
            if not missing:
                return begin + at + 1
            position = begin
        return first

    def _bytes(self, begin: int, size: int, older: int | None) -> bytes:
        if begin >= self._start or older is None:
            return os.pread(self._file, size, max(0, begin - self._start))
        first = self._start - os.fstat(older).st_size
        chunk = os.pread(older, min(size, self._start - begin), begin - first)
        return chunk + os.pread(self._file, size - len(chunk), 0)

    @contextmanager
    def _at_rest(self) -> Iterator[int | None]:
        """Keep it from being moved for a moment; gives ``log.1`` if there is one."""
        for _ in range(_LOCK_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            # The instance itself could hold this lock for ever; then some lines are shown twice, or not at all.
            time.sleep(_LOCK_SECONDS)
        older = None
        try:
            self._start = _start_of(self._log, self._start)
            with suppress(OSError):
                older = os.open(self._log.with_name("log.1"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            yield older
        finally:
            if older is not None:
                os.close(older)
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _start_of(log: Path, known: int) -> int:
    """How many bytes the instance had written when its log last started anew."""
    try:
        return int(log.with_name("log.start").read_bytes())
    except (OSError, ValueError):
        return known


def _set_start(log: Path, start: int) -> None:
    draft = log.with_name("log.start.new")
    draft.write_bytes(b"%d" % start)
    draft.rename(log.with_name("log.start"))
