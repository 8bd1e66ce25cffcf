"""A slice of this host as the root of an image: its Python with what it needs, a shell, tini, and pinned packages."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import IO

from tests.docker.api import LackingError

PROGRAMS = ("sh", "cat", "chmod", "chown", "cp", "env", "id", "ln", "ls", "mkdir", "rm", "sleep", "touch")
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
_NOT_NEEDED = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "config-*"),
    *("site-packages", "dist-packages", "EXTERNALLY-MANAGED", "_test*", "_tkinter*", "_ctypes_test*", "*.a"),
    "*.opt-?.pyc",
)
_QUESTION = """
import json, os, site, sys, sysconfig
print(json.dumps({
    "executable": sys.executable, "version": sys.version,
    "site": site.getsitepackages()[0], "purelib": sysconfig.get_path("purelib"),
    "stdlib": sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}),
}))
"""


class Slice:
    """Files of this host at their own places, in a tar; what a file links to comes with it."""

    def __init__(self, target: IO[bytes]) -> None:
        # Keeping the places keeps what is compiled in: run paths, the loader's, Python's prefix.
        self._tar = tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._there: set[str] = set()
        self._binaries: list[Path] = []

    def close(self) -> None:
        """Add the shared libraries that the files need, and write the end of the tar."""
        for library in _libraries(self._binaries):
            self.add(library)
        self._tar.close()

    def add(self, path: Path) -> None:
        """Add a file, and the links on the way to it."""
        real = self._way_to(path)
        self.copy(real, str(real))

    def copy(self, path: Path, place: str) -> None:
        """Add a file at another place than its own."""
        if place in self._there:
            return
        self._there.add(place)
        self._folders_above(place)
        with path.open("rb") as content:
            if content.read(4) == b"\x7fELF":
                self._binaries.append(path)
            content.seek(0)
            info = self._tar.gettarinfo(arcname=place.lstrip("/"), fileobj=content)
            # A second name of one file is told as a link otherwise.
            info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            # Compiled files name the time of their source, in whole seconds.
            info.mtime = int(info.mtime)
            info.mode = 0o755 if info.mode & 0o100 else 0o644
            self._tar.addfile(info, content)

    def add_tree(self, top: Path, *, wanted: Callable[[str], bool] = lambda name: True) -> None:
        """Add a folder; names that are not wanted are left out, with all below."""
        for path in sorted(top.iterdir()):
            if not wanted(path.name):
                continue
            if path.is_dir() and not path.is_symlink():
                self.add_tree(path, wanted=wanted)
            elif path.exists():
                self.add(path)

    def write(self, place: str, content: str, mode: int = 0o644) -> None:
        """Add a file with that content."""
        self._folders_above(place)
        info = tarfile.TarInfo(place.lstrip("/"))
        data = content.encode()
        info.size, info.mode = len(data), mode
        self._tar.addfile(info, io.BytesIO(data))

    def link(self, place: str, target: str) -> None:
        """Add a symbolic link."""
        if place not in self._there:
            self._there.add(place)
            self._folders_above(place)
            info = tarfile.TarInfo(place.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            self._tar.addfile(info)

    def folder(self, place: str, mode: int = 0o755) -> None:
        """Add a folder that anybody may enter."""
        if place not in self._there and place != "/":
            self._there.add(place)
            self._folders_above(place)
            info = tarfile.TarInfo(place.lstrip("/"))
            info.type, info.mode = tarfile.DIRTYPE, mode
            self._tar.addfile(info)

    def _folders_above(self, place: str) -> None:
        parent = str(Path(place).parent)
        if parent != "/":
            self.folder(parent)

    def _way_to(self, path: Path) -> Path:
        """The real place of a file, once every link on the way is in the tar."""
        at = Path("/")
        for position, part in enumerate(path.parts[1:], 2):
            if part == "..":
                at = at.parent
                continue
            at /= part
            if at.is_symlink():
                target = at.readlink()
                self.link(str(at), str(target))
                return self._way_to((at.parent / target).joinpath(*path.parts[position:]))
        return at


class HostPython:
    """The interpreter that the tests run on, and the distributions installed for it."""

    @cached_property
    def facts(self) -> dict[str, str | list[str]]:
        """What the base interpreter says of itself, outside any virtual environment."""
        base = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
        done = subprocess.run([base, "-I", "-c", _QUESTION], capture_output=True, text=True, check=True)
        facts: dict[str, str | list[str]] = json.loads(done.stdout)
        return facts

    def add_to(self, root: Slice, lock: Path) -> None:
        """Add the interpreter, its standard library, pip and what the lock pins."""
        root.add(Path(str(self.facts["executable"])))
        for name in ("python", "python3"):
            root.link(f"/usr/local/bin/{name}", str(self.facts["executable"]))
        for folder in self.facts["stdlib"]:
            root.add_tree(Path(folder), wanted=_is_needed)
        for name in ["pip", *pinned(lock)]:
            self._add_distribution(root, name)

    def _add_distribution(self, root: Slice, name: str) -> None:
        place = Path(str(self.facts["site"]))
        for file in importlib.metadata.files(name) or []:
            path = Path(str(file.locate()))
            if ".." in file.parts or not path.is_file() or not all(_is_needed(part) for part in file.parts):
                continue
            root.copy(path, str(place.joinpath(*file.parts)))


def pinned(lock: Path) -> list[str]:
    """The distributions of a lock that are installed here; a marker may rule one out."""
    names = re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return [name for name in names if _is_installed(name)]


def make_root(target: IO[bytes], lock: Path) -> None:
    """Write the tar of a root: Python with what the lock pins, a shell with a few programs, and tini."""
    if not sys.platform.startswith("linux"):
        raise LackingError("the images for tests are made of the host's own Python, which must be Linux's")
    root = Slice(target)
    root.folder("/tmp", 0o1777)
    for folder in ("/etc/ssl/certs", "/proc", "/sys", "/dev", "/run", "/root"):
        root.folder(folder)
    root.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    root.write("/etc/group", "root:x:0:\n")
    for name in PROGRAMS:
        root.add(_program(name))
    root.copy(_program("tini", "docker-init").resolve(), "/usr/local/bin/tini")
    # Whatever the host's own places are, these lead to them.
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path("/", name).is_symlink():
            root.link(f"/{name}", str(Path("/", name).readlink()))
    HostPython().add_to(root, lock)
    root.close()


def _program(*names: str) -> Path:
    for name in names:
        if found := shutil.which(name, path=_SEARCH_PATH):
            return Path(found)
    raise LackingError(f"the image for tests needs {' or '.join(names)} of this host, and it is not on PATH")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _is_needed(name: str) -> bool:
    return not any(fnmatch(name, pattern) for pattern in _NOT_NEEDED)


def _libraries(binaries: list[Path]) -> Iterable[Path]:
    """What the loader would load for them, the loader included; what wheels bring along excepted."""
    done = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False)
    paths = {Path(path) for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", done.stdout, re.MULTILINE)}
    return sorted(path for path in paths if not path.is_relative_to(sys.prefix))
