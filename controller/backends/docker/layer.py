"""The files that a container has changed: read out of it, looked through, and packed for another one."""

import asyncio
import base64
import json
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

from aiodocker import DockerError

from controller.backends.docker.answers import read_as
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import sort
from controller.backends.docker.golden import Forbidden, LeaveOut
from controller.errors import Refused

SILENCE_SECONDS = 60.0
MOST_PLACES = 500
"""In how many places outside the state directory files may have changed."""
_OF_THE_ENGINE = (
    "/dev",
    "/proc",
    "/sys",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/mtab",
    "/.dockerenv",
)
_DELETED = 2
_ADDED = 1


@dataclass(slots=True)
class Findings:
    """What was found in the files."""

    problems: list[str] = field(default_factory=list)
    """Sentences that each begin with the name of a file."""
    carried: int = 0
    """How many files go into the image."""
    size: int = 0
    """Their bytes."""
    left_out: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    """Files of the image that the program removed: in the golden image they are again."""


@dataclass(frozen=True, slots=True)
class _Changes:
    places: Sequence[str]
    """Where to read: the state directory, and the topmost of what is new, or the file itself."""
    paths: frozenset[str]
    deleted: Sequence[str]


class Layer:
    """What one container has changed, by the rules of golden images."""

    def __init__(
        self, engine: Engine, container: str, state_dir: str, leave_out: LeaveOut, forbidden: Forbidden, *, whole: bool
    ) -> None:
        """``whole``: files outside the state directory are carried too."""
        self._engine = engine
        self._container = container
        self._state = PurePosixPath(state_dir)
        self._leave_out = leave_out
        self._forbidden = forbidden
        self._whole = whole

    async def pack(self, into: IO[bytes]) -> Findings:
        """Write all that may be carried to a tar file, with names from the root on."""
        changes, findings = await self._changes(), Findings()
        findings.deleted = [path for path in changes.deleted if not self._leave_out(path)]
        with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as packed:
            for place in changes.places:
                with tempfile.TemporaryFile() as file:
                    if await self._read(place, file):
                        await asyncio.to_thread(self._sift, file, place, changes.paths, packed, findings)
        into.seek(0)
        return findings

    async def _changes(self) -> _Changes:
        try:
            listed = await self._engine.get(f"containers/{self._container}/changes") or ()
        except DockerError as answer:
            raise sort(answer) from None
        with read_as("a list of changes"):
            kinds = {each["Path"]: each["Kind"] for each in listed if not _below(each["Path"], _OF_THE_ENGINE)}
            # They are shown to a person, and half a character cannot be.
            "".join(kinds).encode()
        deleted = sorted(path for path, kind in kinds.items() if kind == _DELETED)
        present = {path for path, kind in kinds.items() if kind != _DELETED}
        inner = {str(parent) for path in kinds for parent in PurePosixPath(path).parents}
        outside = [path for path in sorted(present) if not PurePosixPath(path).is_relative_to(self._state)]
        places = [str(self._state)] if any(_below(path, (str(self._state),)) for path in present) else []
        for path in outside:
            new = kinds[path] == _ADDED
            if PurePosixPath(path) in self._state.parents or any(_below(path, (place,)) for place in places):
                continue
            if new or (path not in inner and not await self._is_directory(path)):
                places.append(path)
        if len(places) > MOST_PLACES:
            raise Refused(
                "TooManyChanges",
                f"the program changed files in {len(places)} places outside {self._state}: let it keep them there, or "
                "build them into the image",
            )
        return _Changes(places, frozenset(present), deleted)

    async def _is_directory(self, path: str) -> bool:
        try:
            async with self._engine.stream(
                "HEAD", f"containers/{self._container}/archive", params={"path": path}, silence=SILENCE_SECONDS
            ) as response:
                with read_as("what a path is"):
                    told: Any = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
                    # Go's own bit for directories, which its first bit is.
                    return bool(told["mode"] >> 31 & 1)
        except DockerError:
            return True

    async def _read(self, place: str, file: IO[bytes]) -> bool:
        """Fetch a file or directory as a tar file; False when it is gone."""
        try:
            async with self._engine.stream(
                "GET", f"containers/{self._container}/archive", params={"path": place}, silence=SILENCE_SECONDS
            ) as response:
                async for chunk in response.content.iter_any():
                    file.write(chunk)
        except DockerError as answer:
            if answer.status == 404:
                return False
            raise sort(answer) from None
        file.seek(0)
        return True

    def _sift(
        self, file: IO[bytes], place: str, changed: frozenset[str], packed: tarfile.TarFile, findings: Findings
    ) -> None:
        """Take from an archive what has changed, look through it, and pack what goes along."""
        above = PurePosixPath(place).parent
        with read_as("an archive of files"):
            for entry, content in _entries(file):
                path = str(above / entry.name)
                if path not in changed:
                    continue
                if self._leave_out(path):
                    findings.left_out.append(path)
                    continue
                problem = None if entry.isdir() else self._forbidden.name(path) or self._forbidden.text(_words(entry))
                if problem is None and content is not None:
                    problem = self._forbidden.content(content)
                    content.seek(0)
                if entry.islnk() and self._leave_out(str(above / entry.linkname)):
                    problem = f"is a hard link to {above / entry.linkname}, which does not go into an image"
                if problem is not None:
                    findings.problems.append(f"{path} {problem}")
                elif self._whole or _below(path, (str(self._state),)):
                    entry.name = path.lstrip("/")
                    if entry.islnk():
                        entry.linkname = str(above / entry.linkname).lstrip("/")
                    packed.addfile(entry, content)
                    findings.carried += not entry.isdir()
                    findings.size += entry.size


def _entries(file: IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for entry in archive:
            if entry.isreg() or entry.isdir() or entry.issym() or entry.islnk():
                yield entry, archive.extractfile(entry) if entry.isreg() else None


def _words(entry: tarfile.TarInfo) -> bytes:
    """What an entry says besides its content: where it is, where it points to, its attributes."""
    words = [entry.name, entry.linkname, *(str(value) for value in entry.pax_headers.values())]
    return "\n".join(words).encode(errors="surrogateescape")


def _below(path: str, places: Sequence[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(place) for place in places)
