"""Records that Postgres refuses whatever happens: they are set aside for a person, and hold up nothing."""

import os
from pathlib import Path


class RefusedRecords:
    """One file beside the spool, a JSON object a line."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "refused.jsonl"
        self._count = self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    @property
    def count(self) -> int:
        """How many are in it; a person who has seen them removes the file."""
        if self._count and not self.path.exists():
            self._count = 0
        return self._count

    def add(self, item: bytes) -> None:
        """Set one aside, for good."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, item + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._count += 1
