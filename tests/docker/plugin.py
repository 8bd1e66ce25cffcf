"""Fixtures for tests that need a Docker engine: loaded for every folder by tests/conftest.py.

An engine that answers is used as it is. Where none does, and this process may start one, a private engine is started
once for the whole run, shared by all its workers, and ended with the run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from tests.docker import image
from tests.docker.api import Engine, EngineError, LackingError
from tests.docker.engine import PrivateEngine, answering_engine, why_no_engine

_FOLDER = "AGENTPOOL_TEST_ENGINE"
"""Where the run's private engine is to live: set by the process that ends it, inherited by its workers."""
_OURS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the folder of a private engine, before any worker is started."""
    if not hasattr(config, "workerinput"):
        # Short, since sockets are below it.
        config.stash[_OURS] = Path(tempfile.mkdtemp(prefix="ap-"))
        os.environ[_FOLDER] = str(config.stash[_OURS])


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the private engine, if one was started: every worker has ended by now."""
    folder = config.stash.get(_OURS, None)
    if folder is None:
        return
    if (folder / "engine").exists():
        PrivateEngine(folder / "engine").remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_host() -> str:
    """The DOCKER_HOST of an engine that answers; the test is skipped where there is none and none can be started."""
    return find_or_start_engine()


def find_or_start_engine() -> str:
    """The DOCKER_HOST of an engine that answers, or of this run's private one."""
    if found := answering_engine():
        return found
    if lack := why_no_engine():
        _cannot(f"no Docker engine answers, and {lack}")
    with _alone("engine") as folder:
        engine = PrivateEngine(folder / "engine")
        try:
            engine.start()
        except EngineError as error:
            _cannot(str(error))
        return engine.host


@pytest.fixture(scope="session")
def docker_engine(docker_host: str) -> Iterator[Engine]:
    """A client of that engine."""
    with closing(Engine(docker_host)) as engine:
        yield engine


@pytest.fixture(scope="session")
def agent_image(docker_engine: Engine) -> str:
    """The tag of the agent's image, made from agent/Dockerfile without OpenClaw."""
    return _made(image.agent_image, docker_engine)


@pytest.fixture(scope="session")
def stub_image(docker_engine: Engine) -> str:
    """The tag of an image whose program behaves as BEHAVIOUR says: see tests/docker/stub/agent_program.py."""
    return _made(image.stub_image, docker_engine)


def _made(make: Callable[[Engine], str], engine: Engine) -> str:
    with _alone("image"):
        try:
            return make(engine)
        except LackingError as error:
            _cannot(str(error))


@contextmanager
def _alone(what: str) -> Iterator[Path]:
    """Keep the other workers of this run out; gives the run's folder."""
    folder = Path(os.environ[_FOLDER])
    with (folder / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def require_own_engine() -> None:
    """For tests that are rough with an engine, and so need one of their own: skip or fail where none can be started."""
    if lack := why_no_engine():
        _cannot(lack)


def _cannot(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_DOCKER") == "1":
        pytest.fail(f"REQUIRE_DOCKER=1, but {reason}", pytrace=False)
    pytest.skip(reason)
