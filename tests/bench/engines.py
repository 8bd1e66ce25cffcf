"""The Docker engine on which containers are measured: the one that answers, or a private one for as long as needed."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.docker.api import Engine
from tests.docker.engine import PrivateEngine, answering_engine, why_no_engine
from tests.docker.image import agent_image


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """A running engine that has the agent's image."""

    kind: str
    client: Engine
    version: str
    image: str
    pids: Mapping[str, int] = field(default_factory=dict)
    """Its processes by name, where they are known."""


def why_none() -> str | None:
    """Why there is nothing to measure containers on; None when there is an engine, or one can be started."""
    return why_no_engine() if answering_engine() is None else None


@contextmanager
def running_engine(folder: Path) -> Iterator[DockerEngine]:
    """Have an engine for as long as the block lasts; only one that was started here, in ``folder``, is ended.

    ``EngineError`` when it does not start, or does not build the image.
    """
    if host := answering_engine():
        with _prepared("given", host, {}) as engine:
            yield engine
        return
    private = PrivateEngine(folder / "engine")
    try:
        private.start()
        pids = {name: int((private.folder / f"{name}.pid").read_text("ascii")) for name in ("dockerd", "containerd")}
        with _prepared("private", private.host, pids) as engine:
            yield engine
    finally:
        private.remove()


@contextmanager
def _prepared(kind: str, host: str, pids: Mapping[str, int]) -> Iterator[DockerEngine]:
    with closing(Engine(host)) as client:
        version = str(client.get("/version")["Version"])
        yield DockerEngine(kind, client, version, agent_image(client), pids)
