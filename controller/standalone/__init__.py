"""A small Kubernetes API server of our own, for laptops, tests and single hosts."""

from controller.standalone.server import StandaloneServer
from controller.standalone.statuses import StandaloneError

__all__ = ["StandaloneError", "StandaloneServer"]
