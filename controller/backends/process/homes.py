"""The directories of the instances: ``root/<uid>`` with ``record.json``, ``state/`` and ``log``."""

import asyncio
import errno
import fcntl
import logging
import os
import shutil
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pydantic import ValidationError

from controller.backends.process.record import Record
from controller.backends.process.table import UID
from controller.errors import Refused, Transient

log = logging.getLogger(__name__)

LOCK_SECONDS = 10.0
"""How long to wait for another controller that works on the same instance."""
GLANCE_SECONDS = 1.0
"""How long to wait for it where others wait meanwhile, and it is tried again soon."""
_LOCKS = 64
_COMING, _GOING = ".new-", ".gone-"


class Damaged(Exception):
    """A directory is there, but its record cannot be read."""


class Homes:
    """Everything below one root. All methods but ``lock`` block for a few file operations."""

    def __init__(self, root: Path) -> None:
        # Instances start in a directory of their own, so nothing may depend on the directory of the operator.
        self.root = root.absolute()
        self._locks = self.root / ".locks"
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def state(self, uid: str) -> Path:
        """The directory of the agent's own files."""
        return self.root / uid / "state"

    def log(self, uid: str) -> Path:
        """What it wrote to its standard output and error."""
        return self.root / uid / "log"

    def open(self) -> None:
        """Create the root, for nobody but the operator's user, and see that it can be written."""
        with sorted_errors(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._locks.mkdir(mode=0o700, exist_ok=True)
            _sync(self.root)
            (self._locks / "00").touch(mode=0o600)
            for left in self.root.glob(_GOING + "*"):
                _erase(left)

    @asynccontextmanager
    async def lock(self, uid: str, *, glance: bool = False) -> AsyncIterator[None]:
        """Be the only one, in this and any other controller on this root, who works on the instance.

        The lock files are few and stay: removing a lock file is a race. While an instance is being started its new
        process holds the lock too, until it runs the instance's program and so carries the mark: whoever gets the lock
        after a controller died inside finds that process in the table.

        ``Transient``: another one has had it for too long; with ``glance`` that is soon.
        """
        number = zlib.crc32(uid.encode()) % _LOCKS
        async with self._turns[number]:
            with sorted_errors(self.root):
                self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
                file = os.open(self._locks / f"{number:02}", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                await _acquire(file, uid, GLANCE_SECONDS if glance else LOCK_SECONDS)
                yield
            finally:
                # Closing alone would not do: a process that is being started at this moment has a copy.
                fcntl.flock(file, fcntl.LOCK_UN)
                os.close(file)

    def exists(self, uid: str) -> bool:
        """Whether the instance has a directory."""
        return (self.root / uid).is_dir()

    def uids(self) -> list[str]:
        """Every instance that has a directory."""
        with sorted_errors(self.root):
            try:
                with os.scandir(self.root) as entries:
                    return [entry.name for entry in entries if UID.fullmatch(entry.name) and entry.is_dir()]
            except FileNotFoundError:
                return []

    def read(self, uid: str) -> Record | None:
        """The record; ``None`` without a directory, ``Damaged`` when it makes no sense, ``Transient`` when it cannot be
        read now: then nobody knows even whose it is."""
        if not UID.fullmatch(uid):
            return None
        with sorted_errors(self.root):
            try:
                content = (self.root / uid / "record.json").read_bytes()
            except (FileNotFoundError, NotADirectoryError) as error:
                if self.exists(uid):
                    raise Damaged("record.json is missing") from error
                return None
            except IsADirectoryError as error:
                raise Damaged("record.json is a directory") from error
        try:
            record = Record.model_validate_json(content)
        except ValidationError as error:
            raise Damaged("record.json is not a record") from error
        if record.uid != uid:
            raise Damaged(f"record.json is that of {record.uid}")
        return record

    def create(self, record: Record) -> None:
        """Make the directory; it appears complete, with its record on the disk, or not at all."""
        if not UID.fullmatch(record.uid):
            raise Refused("InvalidUid", f"uid {record.uid!r} cannot name a directory: take letters, digits and hyphens")
        coming = self.root / (_COMING + record.uid)
        with sorted_errors(self.root):
            _erase(coming)
            try:
                (coming / "state").mkdir(mode=0o700, parents=True)
                coming.chmod(0o700)
                _write(coming / "record.json", record)
                coming.rename(self.root / record.uid)
                _sync(self.root)
            except OSError:
                _erase(coming)
                raise

    def write(self, record: Record) -> bool:
        """Replace the record; False when the directory is gone."""
        home = self.root / record.uid
        with sorted_errors(self.root):
            try:
                _write(home / "record.json.new", record)
            except FileNotFoundError:
                return False
            (home / "record.json.new").rename(home / "record.json")
        return True

    def remove(self, uid: str) -> None:
        """Remove the directory with all that is in it.

        It leaves the list at once; what somebody else's files keep from being erased is tried again at the next start.
        """
        if not UID.fullmatch(uid):
            return
        _erase(self.root / (_COMING + uid))
        going = self.root / f"{_GOING}{uid}-{os.urandom(4).hex()}"
        with sorted_errors(self.root):
            try:
                (self.root / uid).rename(going)
            except FileNotFoundError:
                return
        _erase(going)


@contextmanager
def sorted_errors(root: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence with a remedy. All of it can pass without a new order."""
    try:
        yield
    except OSError as error:
        raise Transient(_sentence(error, root), retry_after=5.0) from error


def _sentence(error: OSError, root: Path) -> str:
    where = error.filename or root
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk or quota of {root} is full (DiskFull): free space there"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return (
                f"{where} cannot be written (StateDirNotWritable): give the user of the operator (uid {os.geteuid()}) "
                f"the right to write below {root}, or name another directory"
            )
        case errno.EMFILE | errno.ENFILE:
            return "no file descriptor is left (TooManyOpenFiles): raise the limit with ulimit -n"
        case errno.EAGAIN | errno.ENOMEM:
            return (
                "the host lets no more processes start (ForkFailed): raise ulimit -u or the pids limit, or free memory"
            )
        case _:
            return f"{where}: {error.strerror} (StateDirFailed): see to the directory {root}"


async def _acquire(file: int, uid: str, patience: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if loop.time() > deadline:
                raise Transient(f"another controller has been at work on instance {uid} for too long") from None
            await asyncio.sleep(0.01)


def _write(file: Path, record: Record) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(record.model_dump_json().encode())
        stream.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _erase(directory: Path) -> None:
    """Remove a tree as far as it can be done; an instance may have taken its own rights to it away."""
    shutil.rmtree(directory, ignore_errors=True)
    if not directory.exists():
        return
    for path, _, _ in os.walk(directory):
        try:
            Path(path).chmod(0o700)
        except OSError:
            continue
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        log.warning("%s cannot be erased: remove it by hand", directory)
