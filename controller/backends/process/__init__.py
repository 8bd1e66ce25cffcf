"""The process backend: instances are processes on the host of the operator, for development and single hosts."""

from controller.backends.process.backend import ProcessBackend
from controller.ports import BackendOptions, FixedPlace

__all__ = ["ProcessBackend", "open_backend", "open_logs"]


async def open_backend(options: BackendOptions) -> FixedPlace:
    """The backend over a directory, with what is there taken up."""
    backend = _backend(options)
    await backend.start()
    return FixedPlace(backend)


async def open_logs(options: BackendOptions) -> FixedPlace:
    """The backend for its ``logs`` only: nothing is written, watched or taken up beside the operator that runs."""
    return FixedPlace(_backend(options))


def _backend(options: BackendOptions) -> ProcessBackend:
    root = options.state_dir / "instances"
    return ProcessBackend(root, installation=options.installation, default_command=options.default_command)
