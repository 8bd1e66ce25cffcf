"""Host names of runtimes, remembered between probes and provisions."""

import socket
from collections import OrderedDict
from collections.abc import Callable

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

KEEP_SECONDS = 60.0
"""Longer than the time between two health checks: a provision finds the name that the last check looked up."""
KEEP_NAMES = 10_000


class RememberingResolver(AbstractResolver):
    """Looks names up once a minute. Few threads do the looking up, and a burst of provisions would queue for them."""

    def __init__(self, clock: Callable[[], float], system: Callable[[], AbstractResolver] = ThreadedResolver) -> None:
        self._clock = clock
        self._system = system
        self._known: OrderedDict[tuple[str, int, int], tuple[float, list[ResolveResult]]] = OrderedDict()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name; OSError when there are none. Failures are not remembered."""
        key = (host, port, int(family))
        known = self._known.get(key)
        if known is not None and self._clock() - known[0] < KEEP_SECONDS:
            return known[1]
        found = await self._system().resolve(host, port, family)
        self._known[key] = (self._clock(), found)
        self._known.move_to_end(key)
        if len(self._known) > KEEP_NAMES:
            self._known.popitem(last=False)
        return found

    async def close(self) -> None:
        """Forget everything."""
        self._known.clear()
