"""The backend of the benchmark: its remotes are virtual instances of ``tests.bench.world``."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import orjson

from controller.errors import Missing, Refused, Transient
from controller.ports import LaunchOrder, Pace, Remote, RemoteState


class VirtualBackend:
    """Launches and ends instances with one instant request each."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._changes: asyncio.Queue[Remote | None] = asyncio.Queue()

    @property
    def pace(self) -> Pace:
        return Pace()

    async def launch(self, order: LaunchOrder) -> Remote:
        await self._ask("POST", f"/launch/{order.uid}", orjson.dumps({"name": order.name}))
        return self._remote(order.uid)

    async def terminate(self, uid: str, *, grace: float) -> bool:
        await self._ask("DELETE", f"/launch/{uid}")
        return True

    async def pause(self, uid: str) -> Remote:
        raise Refused("PauseUnsupported", "virtual instances cannot be paused")

    async def resume(self, uid: str) -> Remote:
        return self._remote(uid)

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        return self._remote(uid)

    def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        raise Missing(f"the virtual instance {uid} writes nothing")

    async def list(self) -> Sequence[Remote]:
        return [self._remote(uid) for uid in await self._ask("GET", "/launch")]

    async def changes(self) -> AsyncIterator[Remote]:
        # A virtual instance never changes by itself, so this only waits for the end.
        while (remote := await self._changes.get()) is not None:
            yield remote

    async def close(self) -> None:
        self._changes.put_nowait(None)
        await self._session.close()

    def _remote(self, uid: str) -> Remote:
        return Remote(uid=uid, backend_id=f"virtual-{uid}", state=RemoteState.RUNNING, url=f"{self._url}/i/{uid}")

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        try:
            async with self._session.request(method, self._url + path, data=body, raise_for_status=True) as response:
                return orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Transient(f"the world of virtual instances at {self._url} does not answer: {error}") from error
