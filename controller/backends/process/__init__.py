"""The process backend: instances are processes on the host of the operator, for development and single hosts."""

from collections.abc import Sequence
from pathlib import Path

from controller.backends.process.backend import ProcessBackend

__all__ = ["ProcessBackend", "open_backend"]


async def open_backend(root: Path, installation: str, default_command: Sequence[str]) -> ProcessBackend:
    """The backend over a directory, with what is there taken up."""
    backend = ProcessBackend(root, installation=installation, default_command=default_command)
    await backend.start()
    return backend
