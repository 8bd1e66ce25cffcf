"""Postgres out of Debian's packages, unpacked into a folder: nothing is installed, and no privilege is needed."""

import re
import shutil
import subprocess
from pathlib import Path

_SECONDS = 600


def why_not() -> str | None:
    """Why this host cannot have it; ``None`` if it may."""
    lacking = [program for program in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(program) is None]
    return f"there is no {lacking[0]} to fetch it with" if lacking else None


def unpack_postgres(folder: Path) -> None:
    """Have Debian's newest Postgres below ``root_below(folder)``, with what it needs and this host lacks.

    Raises ``OSError`` or ``subprocess.SubprocessError`` when packages cannot be had.
    """
    packages, unpacking = folder / "packages", folder / "unpacking"
    for name in ("lists/partial", "cache/archives/partial", "packages", "unpacking"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # apt's own folders belong to root, and may be empty, as they are in containers.
    own = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
    own += ["-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=true"]
    _run(["apt-get", *own, "-qq", "update"], folder)
    # The package postgresql only names the one with the server. Named, that is fetched even where it is installed.
    depends = _run(["apt-cache", *own, "depends", "postgresql"], folder)
    [server] = re.findall(r"Depends: (postgresql-\d+)", depends)
    named = [*own, "-qq", "--no-install-recommends", "--print-uris", "--reinstall", "install", server]
    files = [line.split()[1] for line in _run(["apt-get", *named], folder).splitlines() if line.startswith("'")]
    names = [file.split("_")[0] for file in files]
    _run(["apt-get", *own, "-qq", "download", *names], packages)
    for package in packages.glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(package), str(unpacking)], folder)
    shutil.rmtree(packages)
    # Only now, so that half of it is never taken for the whole by who finds it there.
    unpacking.rename(root_below(folder))


def root_below(folder: Path) -> Path:
    """The root of what was unpacked: there only once it is whole."""
    return folder / "root"


def libraries(root: Path) -> str:
    """The search path of the libraries below a root."""
    return ":".join(str(path) for path in (root / "usr" / "lib").glob("*-linux-gnu*"))


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        raise OSError(f"{command[0]} failed: {said[-1] if said else f'exit code {error.returncode}'}") from None
    return done.stdout
