"""The docker backend: instances are containers of a Docker engine, local or remote."""

from controller.backends.docker.address import read_address
from controller.backends.docker.backend import DockerBackend
from controller.backends.docker.engine import Engine
from controller.errors import Misconfigured, Unusable
from controller.ports import BackendOptions, FixedPlace

__all__ = ["DockerBackend", "open_backend", "open_logs"]


async def open_backend(options: BackendOptions) -> FixedPlace:
    """The backend on the engine that DOCKER_HOST names. ``Unusable`` when that cannot name one."""
    try:
        backend = _backend(options)
    except Misconfigured as error:
        raise Unusable(str(error)) from None
    await backend.start()
    return FixedPlace(backend)


async def open_logs(options: BackendOptions) -> FixedPlace:
    """The backend for its ``logs`` only: nothing is followed or changed beside the operator that runs."""
    return FixedPlace(_backend(options))


def _backend(options: BackendOptions) -> DockerBackend:
    return DockerBackend(Engine(read_address(options.environ)), installation=options.installation)
