"""The client of the program inside an instance."""

from controller.runtime.client import HttpRuntime

__all__ = ["HttpRuntime"]
