"""The docker backend: instances are containers of a Docker engine, local or remote."""

from controller.backends.docker.address import read_address
from controller.backends.docker.backend import DockerBackend
from controller.backends.docker.engine import Engine
from controller.errors import Misconfigured, Unusable
from controller.ports import BackendOptions

__all__ = ["DockerBackend", "open_backend", "open_logs"]


async def open_backend(options: BackendOptions) -> DockerBackend:
    """The backend on the engine that DOCKER_HOST names. ``Unusable`` when that cannot name one."""
    try:
        backend = await open_logs(options)
    except Misconfigured as error:
        raise Unusable(str(error)) from None
    await backend.start()
    return backend


async def open_logs(options: BackendOptions) -> DockerBackend:
    """The backend for its ``logs`` only: nothing is followed or changed beside the operator that runs."""
    return DockerBackend(Engine(read_address(options.environ)), installation=options.installation)
