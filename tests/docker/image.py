"""The images that tests run, built without any registry: ``python -m tests.docker.image`` prints the agent's tag.

A slice of this host becomes the base image, and on it the real agent/Dockerfile is built. Tags are hashes of what went
in, so that an engine builds each only once.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path

from tests.docker import slice as host
from tests.docker.api import Engine, EngineError
from tests.docker.engine import answering_engine

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "agent"
STUB = Path(__file__).with_name("stub")
LOCK = AGENT / "requirements.lock"
_REPOSITORY = "agentpool-test"


def agent_image(engine: Engine, context: Path = AGENT) -> str:
    """The tag of the agent's image, without OpenClaw; it is built if the engine does not have it."""
    return _build(engine, "agent", context, "loopback")


def stub_image(engine: Engine) -> str:
    """The tag of an image whose program behaves as BEHAVIOUR says; see stub/agent_program.py."""
    return _build(engine, "stub", STUB, "")


def base_image(engine: Engine) -> str:
    """The tag of the image of this host's Python."""
    tag = f"{_REPOSITORY}/python:{_hash_of_base()}"
    if not engine.has_image(tag):
        with tempfile.TemporaryFile() as root:
            host.make_root(root, LOCK)
            root.seek(0)
            engine.import_image(root, tag, ["ENV PATH=/usr/local/bin:/usr/bin:/bin"])
    return tag


def context_files(folder: Path) -> Iterator[Path]:
    """What a client sends of a folder: all but what its .dockerignore names."""
    ignore = folder / ".dockerignore"
    # These two are sent even if they are named there: the engine removes them.
    named = ignore.read_text("utf-8").split() if ignore.exists() else []
    patterns = [pattern for pattern in named if pattern not in {"Dockerfile", ".dockerignore"}]
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(_matches(parts, pattern) for pattern in patterns):
            yield path


def _matches(parts: tuple[str, ...], pattern: str) -> bool:
    name = pattern.removeprefix("**/")
    return any(fnmatch(part, name) for part in parts) if name != pattern else fnmatch(parts[0], name)


def _build(engine: Engine, name: str, folder: Path, target: str) -> str:
    base = base_image(engine)
    digest = hashlib.sha256(f"{base} {target}".encode())
    for path in context_files(folder):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_mode & 0o100} ".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    tag = f"{_REPOSITORY}/{name}:{digest.hexdigest()[:16]}"
    if not engine.has_image(tag):
        build(engine, tag, folder, target=target, arguments={"PYTHON_IMAGE": base})
    return tag


def build(
    engine: Engine,
    tag: str,
    folder: Path,
    *,
    target: str = "",
    arguments: Mapping[str, str] | None = None,
    network: str = "",
) -> list[str]:
    """Build an image from a folder with a Dockerfile; the lines that the build printed."""
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as tar:
            for path in context_files(folder):
                tar.addfile(_entry(path, folder), io.BytesIO(path.read_bytes()))
        context.seek(0)
        return engine.build(context, tag, target=target, arguments=arguments, network=network)


def _entry(path: Path, folder: Path) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(str(path.relative_to(folder)))
    entry.size = path.stat().st_size
    entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return entry


def _hash_of_base() -> str:
    inputs = [
        sys.version,
        json.dumps(host.HostPython().facts, sort_keys=True),
        *(f"{name} {importlib.metadata.version(name)}" for name in ["pip", *host.pinned(LOCK)]),
        Path(host.__file__).read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:16]


def main() -> int:
    """Build on the engine that answers, and print the tag."""
    found = answering_engine()
    if found is None:
        sys.stderr.write("no Docker engine answers: set DOCKER_HOST, or start one: python -m tests.docker.engine\n")
        return 1
    try:
        with closing(Engine(found)) as engine:
            sys.stdout.write(f"{agent_image(engine)}\n")
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
