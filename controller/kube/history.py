"""The history of the API server goes forward only, unless its etcd was restored from an earlier state."""

import asyncio
import logging
from typing import Protocol

from controller.errors import AgentpoolError
from controller.model import Resource

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
"""How soon a question that failed is asked again."""


class Versions(Protocol):
    """Part of the client of the API server."""

    async def version(self, kind: type[Resource]) -> int | None:
        """How far the history of a kind has gone; ``None`` if that is no number."""
        ...


class History:
    """How far it was seen to have gone. What was learned after the state that it went back to never happened."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._furthest: dict[str, int] = {}
        self._doubted: dict[type[Resource], int] = {}
        self._asked = asyncio.Event()

    def goes_on(self, kind: type[Resource], path: str, version: int) -> None:
        """A watch of that path is opened that knows everything up to that version.

        A server that is before it tells of nothing until it has got there, by another way than it did the first time.
        For that it must have been away, and then each watch is opened anew: so each but the first is doubted.
        """
        if path in self._furthest:
            self._doubted[kind] = max(version, self._furthest[path], self._doubted.get(kind, 0))
            self._asked.set()
        self._furthest[path] = max(version, self._furthest.get(path, 0))

    async def until_reversed(self) -> None:
        """Wait until the API server is seen to be before something that it has told of."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            doubted, self._doubted = self._doubted, {}
            for kind, version in doubted.items():
                now = await self._version(kind)
                if now is not None and now < version:
                    log.warning(
                        "the API server is at version %d of its %s, and has told of version %d before: its etcd was "
                        "restored from an earlier state: beginning anew",
                        now,
                        kind.plural,
                        version,
                    )
                    return

    async def _version(self, kind: type[Resource]) -> int | None:
        while True:
            try:
                return await self._versions.version(kind)
            except AgentpoolError:
                await asyncio.sleep(RETRY_SECONDS)
