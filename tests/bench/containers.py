"""The containers of a namespace as their engine tells of them, past the controller."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.docker.api import Engine, EngineError

_NAMESPACE = "agentpool.dev/namespace"
_INSTANCE = "agentpool.dev/instance"


@dataclass(frozen=True, slots=True)
class Usage:
    """What one container has used until now."""

    cpu_seconds: float
    memory_megabytes: float
    """In megabytes of 2^20 bytes, without the files that the kernel may drop."""

    @classmethod
    def read(cls, stats: Mapping[str, Any]) -> "Usage":
        """From an answer of ``/containers/{id}/stats``, under either version of cgroups."""
        memory = stats["memory_stats"]
        details = memory.get("stats") or {}
        droppable = details.get("total_inactive_file", details.get("inactive_file", 0))
        return cls(
            cpu_seconds=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            memory_megabytes=(memory["usage"] - droppable) / 2**20,
        )


class Containers:
    """Those that bear the label of one namespace. Remembers the volumes that it saw."""

    def __init__(self, engine: Engine, namespace: str) -> None:
        self._engine = engine
        self._filters = json.dumps({"label": [f"{_NAMESPACE}={namespace}"]})
        self._volumes: set[str] = set()

    async def listed(self) -> list[dict[str, Any]]:
        """All of them, whatever their state."""
        found: list[dict[str, Any]] = await asyncio.to_thread(
            self._engine.get, "/containers/json", all="1", filters=self._filters
        )
        self._volumes |= {mount["Name"] for each in found for mount in each["Mounts"] if mount["Type"] == "volume"}
        return found

    async def states(self) -> Counter[str]:
        """How many are in each state, in the engine's words."""
        return Counter(str(each["State"]) for each in await self.listed())

    async def usages(self) -> dict[str, Usage]:
        """What each has used, by its id."""
        ids = [str(each["Id"]) for each in await self.listed()]
        return dict(zip(ids, await asyncio.gather(*map(self._usage, ids)), strict=True))

    async def _usage(self, container: str) -> Usage:
        path = f"/containers/{container}/stats"
        return Usage.read(await asyncio.to_thread(self._engine.get, path, **{"stream": "false", "one-shot": "true"}))

    async def conversation(self, instance: str, token: str, session: aiohttp.ClientSession) -> str | None:
        """The conversation in which the agent of an instance says it is."""
        for each in await self.listed():
            if each["Labels"].get(_INSTANCE) == instance:
                url = await self._url_of(str(each["Id"]))
                async with session.get(
                    f"{url}/convos/status", headers={"Authorization": f"Bearer {token}"}, raise_for_status=True
                ) as response:
                    told = (await response.json())["conversation"]
                    return str(told["id"]) if told else None
        return None

    async def _url_of(self, container: str) -> str:
        shown = await asyncio.to_thread(self._engine.get, f"/containers/{container}/json")
        [binding] = [each for bound in shown["NetworkSettings"]["Ports"].values() for each in bound or ()]
        return f"http://{binding['HostIp']}:{binding['HostPort']}"

    async def left(self) -> list[str]:
        """Containers, and volumes of containers that were ever seen, that are still there."""
        containers = [str(each["Names"][0]).removeprefix("/") for each in await self.listed()]
        known = (await asyncio.to_thread(self._engine.get, "/volumes"))["Volumes"] or []
        return [*containers, *(volume["Name"] for volume in known if volume["Name"] in self._volumes)]

    async def remove(self) -> None:
        """Remove all of them with their volumes, without the controller."""
        for each in await self.listed():
            try:
                await asyncio.to_thread(self._engine.delete, f"/containers/{each['Id']}", force="1", v="1")
            except EngineError as error:
                if "404" not in str(error) and "409" not in str(error):  # gone, or on its way out
                    raise
