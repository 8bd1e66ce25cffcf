"""The process backend: instances are processes on the host of the operator, for development and single hosts."""

from controller.backends.process.backend import ProcessBackend

__all__ = ["ProcessBackend"]
