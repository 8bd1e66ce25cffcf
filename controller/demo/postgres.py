"""A Postgres of one's own, from the host's binaries or Debian's package: on a unix socket in its directory."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from controller.demo import debian

OLDEST = 14
"""The first major version that the ledger works with."""
_OPTIONS = {
    "listen_addresses": "''",
    "fsync": "off",  # nothing here outlives the machine
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}


class LackingError(Exception):
    """This host cannot run one; the text says why."""


class PrivatePostgres:
    """One server below a directory. Its user is the one who started it; root lends it another one's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.origin = "the binaries of this host"
        """Where its programs come from."""
        self._programs: Path | None = None
        self._libraries = ""
        self._data = directory / "data"
        self._sockets = directory / "s"

    @classmethod
    def somewhere(cls) -> PrivatePostgres:
        """One in a new directory with a short name, since its socket is below it."""
        directory = Path(tempfile.mkdtemp(prefix="ap-"))
        directory.chmod(0o755)  # the server's user has to pass through
        return cls(directory)

    @property
    def version(self) -> int:
        """The major version."""
        return _version(self._found())

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """DATABASE_URL of one of its databases."""
        return f"postgresql://{user}@/{database}?host={quote(str(self._sockets), safe='')}"

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended since."""
        return (self._data / "postmaster.pid").exists()

    def start(self) -> None:
        """Make and start it; one that runs is left as it is. ``LackingError`` where that cannot be done."""
        if self.running:
            return
        binaries, user = self._found(), _user()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._sockets.mkdir(exist_ok=True)
        if user is not None:
            for folder in (self.directory, self._sockets):
                os.chown(folder, user.pw_uid, user.pw_gid)
        if not (self._data / "PG_VERSION").exists():
            command = [
                "initdb",
                "-D",
                str(self._data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "-N",
            ]
            self._run(binaries, user, command)
            options = {**_OPTIONS, "unix_socket_directories": f"'{self._sockets}'"}
            lines = "".join(f"{name} = {value}\n" for name, value in options.items())
            with (self._data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
                configuration.write(lines)
        self._control(binaries, user, "start", "-l", str(self.directory / "log"))

    def stop(self) -> None:
        """End it, as a crash would; its data stays."""
        if self.running:
            self._control(self._found(), _user(), "stop", "-m", "immediate")

    def remove(self) -> None:
        """End it and leave nothing behind."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _found(self) -> Path:
        """The folder of its programs: fetched where the host has none, once for all who have this directory."""
        if self._programs is None:
            self._programs = self._unpacked()
        if self._programs is None:
            try:
                self._programs = _binaries()
            except LackingError:
                self._programs = self._fetched()
        return self._programs

    def _unpacked(self) -> Path | None:
        """What was fetched for this directory, maybe by the process that started it; ``None`` if nothing was."""
        root = debian.root_below(self.directory / "package")
        found = sorted((_version(path.parent), path.parent) for path in root.glob("usr/lib/postgresql/*/bin/initdb"))
        if not found:
            return None
        self.origin, self._libraries = "Debian's package, unpacked for it", debian.libraries(root)
        return found[-1][1]

    def _fetched(self) -> Path:
        if (lack := debian.why_not()) is not None:
            raise LackingError(f"there is no Postgres {OLDEST} or later, and {lack}: install it, or set DATABASE_URL")
        try:
            debian.unpack_postgres(self.directory / "package")
        except (OSError, subprocess.SubprocessError) as error:
            raise LackingError(
                f"there is no Postgres {OLDEST} or later, and Debian's package cannot be had ({error}): install it, "
                "or set DATABASE_URL"
            ) from None
        programs = self._unpacked()
        if programs is None:
            raise LackingError("Debian's package of Postgres holds no server: install one, or set DATABASE_URL")
        return programs

    def _control(self, binaries: Path, user: pwd.struct_passwd | None, *arguments: str) -> None:
        self._run(binaries, user, ["pg_ctl", "-D", str(self._data), "-w", "-t", "60", *arguments])

    def _run(self, binaries: Path, user: pwd.struct_passwd | None, command: list[str]) -> None:
        program = [str(binaries / command[0]), *command[1:]]
        if user is not None:
            lend = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            program = [*lend, *program]
        # The server inherits what is open: a pipe would never end. It must also not inherit the caller's locale.
        with (self.directory / "said").open("w+", encoding="utf-8") as said:
            done = subprocess.run(
                program,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "LC_ALL": "C",
                    "HOME": str(self.directory),
                    **({"LD_LIBRARY_PATH": self._libraries} if self._libraries else {}),
                },
                timeout=120,
                check=False,
            )
            said.seek(0)
            if done.returncode != 0:
                raise LackingError(f"{command[0]} failed: {said.read().strip()}")


def why_not(*, fetching: bool = True) -> str | None:
    """Why this host cannot run one, fetched from Debian if need be; ``None`` if it can."""
    try:
        _user()
        if not fetching or debian.why_not() is not None:
            _binaries()
    except LackingError as error:
        return str(error)
    return None


def _binaries() -> Path:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).resolve().parent)
    usable = sorted((version, folder) for folder in found if (version := _version(folder)) >= OLDEST)
    if not usable:
        raise LackingError(f"there is no Postgres {OLDEST} or later: install it, or set DATABASE_URL")
    return usable[-1][1]


def _version(folder: Path) -> int:
    server = folder / "postgres"
    if not server.exists():
        return 0
    told = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+)", told)
    return int(match[1]) if match else 0


def _user() -> pwd.struct_passwd | None:
    """Whom root lets run it, since Postgres refuses root."""
    if os.geteuid() != 0:
        return None
    if shutil.which("setpriv") is None:
        raise LackingError("Postgres does not run as root, and there is no setpriv to make it another user's")
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LackingError("Postgres does not run as root, and there is neither a user postgres nor nobody")
