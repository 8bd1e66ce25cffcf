"""How long instances take from their creation until they wait for a claim, as a client sees it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.bench.api import ApiServer

_PLURAL = "agentinstances"


@dataclass(slots=True)
class Births:
    """Those that were created while it was watched; times are of perf_counter."""

    created: dict[str, float] = field(default_factory=dict)
    """By uid."""
    idle: dict[str, float] = field(default_factory=dict)
    """When it was first seen Idle, by uid."""

    @property
    def seconds(self) -> list[float]:
        """From creation to Idle, of each that got there."""
        return [at - self.created[uid] for uid, at in self.idle.items()]

    def learn(self, arrived: float, event: dict[str, Any]) -> None:
        """Take in one event of the watch."""
        metadata, status = event["object"]["metadata"], event["object"].get("status") or {}
        uid = metadata["uid"]
        if event["type"] == "ADDED":
            self.created[uid] = arrived
        elif uid in self.created and status.get("phase") == "Idle":
            self.idle.setdefault(uid, arrived)

    @asynccontextmanager
    async def watched(self, api: ApiServer) -> AsyncIterator[None]:
        """Keep a watch open; a watch that ends early fails the scenario."""
        async with api.watch(_PLURAL) as events, asyncio.TaskGroup() as group:
            follower = group.create_task(self._follow(events))
            yield
            follower.cancel()

    async def _follow(self, events: AsyncIterator[tuple[float, dict[str, Any]]]) -> None:
        async for arrived, event in events:
            if event["type"] == "ERROR":
                break
            self.learn(arrived, event)
        raise ConnectionError("the API server ended the benchmark's watch of instances")
