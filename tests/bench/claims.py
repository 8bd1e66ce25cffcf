"""The claims of one scenario: made, watched until they are bound, deleted; and what was seen of each."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from controller.model import API_VERSION
from tests.bench.api import ApiServer
from tests.bench.figures import percentile
from tests.bench.processes import UnfinishedError

BIND_SECONDS = 60.0
_PLURAL = "agentclaims"
_ENDED = frozenset({"Failed", "Evicted", "Expired"})


@dataclass(slots=True)
class SeenClaim:
    """One claim; times are of perf_counter."""

    name: str
    due_at: float
    """When it was to be POSTed; latencies count from here."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is Bound, or never will be."""
    posted_at: float = 0.0
    bound_at: float | None = None
    uid: str = ""
    phase: str = ""
    instance: str | None = None
    conversation: str | None = None
    writes_to_bound: int = 0
    """Changes by the controller that the watch showed, the one to Bound included."""
    rebound: bool = False
    """Whether it was moved to another instance, or its status changed its mind after it was Bound."""

    @property
    def milliseconds(self) -> float | None:
        """From when it was due until the watch showed it Bound."""
        return None if self.bound_at is None else (self.bound_at - self.due_at) * 1000

    async def bound(self) -> None:
        """Wait until it is, or never will be; ``UnfinishedError`` after BIND_SECONDS."""
        try:
            async with asyncio.timeout(BIND_SECONDS):
                await self.ended.wait()
        except TimeoutError:
            raise UnfinishedError(f"claim {self.name} was not bound after {BIND_SECONDS:.0f} s") from None

    def learn(self, arrived: float, event: dict[str, Any]) -> None:
        """Take in one event of the watch."""
        metadata, status = event["object"]["metadata"], event["object"].get("status") or {}
        self.uid = metadata["uid"]
        if "deletionTimestamp" in metadata or event["type"] == "DELETED":
            self.ended.set()
            return
        told = (status.get("phase", ""), status.get("instance"), status.get("conversationId"))
        if self.bound_at is not None:
            self.rebound |= told != (self.phase, self.instance, self.conversation)
            return
        self.rebound |= self.instance not in {None, told[1]}
        self.phase, self.instance, self.conversation = told
        if event["type"] == "MODIFIED":
            self.writes_to_bound += 1
        if self.phase == "Bound":
            self.bound_at = arrived
        if self.phase == "Bound" or self.phase in _ENDED:
            self.ended.set()


class Claims:
    """The claims of one scenario by name, kept up by one watch."""

    def __init__(self, api: ApiServer, pool: str) -> None:
        self._api = api
        self._pool = pool
        self._seen: dict[str, SeenClaim] = {}

    @property
    def all(self) -> list[SeenClaim]:
        """Every claim that was made, in order."""
        return list(self._seen.values())

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep a watch open; a watch that ends early fails the scenario."""
        async with self._api.watch(_PLURAL) as events, asyncio.TaskGroup() as group:
            follower = group.create_task(self._follow(events))
            yield
            follower.cancel()

    async def _follow(self, events: AsyncIterator[tuple[float, dict[str, Any]]]) -> None:
        async for arrived, event in events:
            if event["type"] == "ERROR":
                break
            claim = self._seen.get(event["object"]["metadata"]["name"])
            if claim is not None:
                claim.learn(arrived, event)
        raise ConnectionError("the API server ended the benchmark's watch of claims")

    async def make(self, due_at: float | None = None) -> SeenClaim:
        """POST the next claim now; ``due_at`` when it ought to have been."""
        name = f"{self._pool}-{len(self._seen)}"
        now = time.perf_counter()
        claim = self._seen[name] = SeenClaim(name, now if due_at is None else due_at, posted_at=now)
        body = {
            "apiVersion": API_VERSION,
            "kind": "AgentClaim",
            "metadata": {"name": name},
            "spec": {
                "pool": self._pool,
                "agentName": f"Agent {name}",
                "instructions": "You measure how fast you came.",
            },
        }
        await self._api.request("POST", self._api.path(_PLURAL), orjson.dumps(body))
        return claim

    async def delete(self, claim: SeenClaim) -> None:
        """Give the agent back."""
        await self._api.delete(_PLURAL, claim.name)


def latencies(claims: Sequence[SeenClaim], shares: Mapping[str, float]) -> dict[str, float]:
    """Percentiles, by their names, of the milliseconds of all claims that were Bound."""
    values = [claim.milliseconds for claim in claims if claim.milliseconds is not None]
    return {name: percentile(values, share) for name, share in shares.items()} if values else {}
