"""The one pool of a scenario, as the API server has it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.model import API_VERSION
from tests.bench.api import ApiError, ApiServer

_PLURALS = ("agentclaims", "agentpools", "agentinstances")


@dataclass(frozen=True, slots=True)
class PoolSize:
    """The numbers of a pool."""

    min_idle: int
    max_total: int


class Pool:
    """Nothing else is in the namespace besides this pool, its instances and its claims."""

    def __init__(self, api: ApiServer, name: str, size: PoolSize, spec: Mapping[str, Any]) -> None:
        """``spec``: all of it but the size."""
        self.name = name
        self.size = size
        self._api = api
        self._spec = spec

    async def create(self) -> None:
        """POST it."""
        body = {
            "apiVersion": API_VERSION,
            "kind": "AgentPool",
            "metadata": {"name": self.name},
            "spec": {"minIdle": self.size.min_idle, "maxTotal": self.size.max_total, **self._spec},
        }
        await self._api.request("POST", self._api.path("agentpools"), body)

    async def status(self) -> dict[str, Any]:
        """What it says of itself."""
        found: dict[str, Any] = await self._api.request("GET", self._api.path("agentpools", self.name))
        return found.get("status") or {}

    async def instances(self) -> list[dict[str, Any]]:
        """Its instances as they are stored."""
        return await self._api.objects("agentinstances")

    async def phases(self) -> Counter[str | None]:
        """How many instances are in each phase."""
        return Counter((instance.get("status") or {}).get("phase") for instance in await self.instances())

    async def delete(self) -> None:
        """Ask for the deletion of all claims, and of the pool."""
        for plural in ("agentclaims", "agentpools"):
            async with asyncio.TaskGroup() as group:
                for item in await self._api.objects(plural):
                    group.create_task(self._api.delete(plural, item["metadata"]["name"]))

    async def left(self) -> list[str]:
        """The kinds of which there is still an object."""
        return [plural for plural in _PLURALS if await self._api.objects(plural, limit=1)]

    async def force(self) -> None:
        """Remove whatever is left, without the controller."""
        for plural in _PLURALS:
            async with asyncio.TaskGroup() as group:
                for item in await self._api.objects(plural):
                    group.create_task(self._force(plural, item["metadata"]["name"]))

    async def _force(self, plural: str, name: str) -> None:
        body: Mapping[str, Any] = {"metadata": {"finalizers": None}}
        await self._api.delete(plural, name)
        try:
            await self._api.request("PATCH", self._api.path(plural, name), body, "application/merge-patch+json")
        except ApiError as error:
            if error.status != 404:
                raise
