"""What the proxies in front of the runtimes are told to do: files in a folder that all of them share.

Each file is one piece of trouble for one request. Whoever meets a request that it fits takes the file away, which only
one can; so the number of requests that suffer is exact, however many runtimes there are.
"""

import os
from enum import StrEnum
from pathlib import Path

_TAKEN = ".taken"


class Trouble(StrEnum):
    """What happens to one request. Those for a provision happen to nothing else."""

    HANG = "hang"
    """A provision is never answered, and never carried out."""
    LATE = "late"
    """A provision is carried out, and answered when the caller has hung up long since."""
    HTML = "html"
    """A provision is answered by a page for people, and not carried out."""
    UNAUTHORIZED = "unauthorized"
    ERROR = "error"
    """500 after a provision was carried out."""
    TRUNCATED = "truncated"
    """A provision is carried out, and its answer ends in the middle."""
    HUGE = "huge"
    """A provision is carried out, and its answer does not end."""
    DRIP = "drip"
    """A provision is carried out, and its answer comes byte by byte, for ever."""
    DIE_BEFORE = "die-before"
    """The whole instance dies when it gets a provision."""
    DIE_AFTER = "die-after"
    """The whole instance dies when it has carried a provision out, before it answers."""
    AGENT_DIES = "agent-dies"
    """The agent behind the proxy dies when it gets a provision; the port goes on to listen."""
    PAGE_EVERYWHERE = "page-everywhere"
    """Any request, a probe too, is answered by a page for people."""
    SILENT_EVERYWHERE = "silent-everywhere"
    """Any request, a probe too, is never answered."""

    @property
    def everywhere(self) -> bool:
        """Whether it happens to any request."""
        return self in {Trouble.PAGE_EVERYWHERE, Trouble.SILENT_EVERYWHERE}


class Troubles:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def order(self, trouble: Trouble, times: int = 1) -> None:
        """Have it happen so many times more."""
        self.folder.mkdir(exist_ok=True)
        first = len(list(self.folder.iterdir()))
        for number in range(first, first + times):
            (self.folder / f"{number:04}.{trouble}").touch()

    def cancel(self) -> None:
        """What did not happen yet is called off."""
        for order in self._orders():
            order.unlink(missing_ok=True)

    @property
    def taken(self) -> int:
        """How many times any of it has happened."""
        return sum(1 for file in self.folder.iterdir() if file.suffix == _TAKEN) if self.folder.is_dir() else 0

    def take(self, *, provisions: bool) -> Trouble | None:
        """What is to happen to this request, if anything."""
        for order in self._orders():
            trouble = Trouble(order.suffix.removeprefix("."))
            if trouble.everywhere or provisions:
                try:
                    order.rename(order.with_name(order.name + _TAKEN))
                except FileNotFoundError:
                    continue  # another instance was faster
                return trouble
        return None

    def _orders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [self.folder / name for name in sorted(os.listdir(self.folder)) if not name.endswith(_TAKEN)]  # noqa: PTH208
