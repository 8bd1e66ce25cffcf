"""Tells subscribers what happens to deployments."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp

from tests.railway.counts import Counts
from tests.railway.faults import Fault, Faults
from tests.railway.records import Deployment
from tests.railway.settings import Settings

TIMEOUT = aiohttp.ClientTimeout(total=10)
BAD = frozenset({"crashed", "failed", "oom_killed"})


class Webhooks:
    """Posts each event once, to every URL of the settings; what becomes of it is nobody's concern."""

    def __init__(self, settings: Settings, faults: Faults, counts: Counts, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._faults = faults
        self._counts = counts
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._posting: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._session = aiohttp.ClientSession(timeout=TIMEOUT)

    async def close(self) -> None:
        """Forget what is not posted yet."""
        for task in self._posting:
            task.cancel()
        await asyncio.gather(*self._posting, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def tell(self, deployment: Deployment, event: str) -> None:
        """``Deployment.<event>``."""
        for url in self._settings.webhooks:
            if self._faults.strikes(Fault.LOST_EVENT, event):
                continue
            task = asyncio.create_task(self._post(url, self._payload(deployment, event)))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)

    async def _post(self, url: str, payload: dict[str, Any]) -> None:
        assert self._session is not None
        self._counts.webhooks[payload["type"]] += 1
        try:
            async with self._session.post(url, json=payload) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            # The vendor does not care either.
            return

    def _payload(self, deployment: Deployment, event: str) -> dict[str, Any]:
        instance = deployment.instance
        environment, project = instance.environment, instance.environment.project
        return {
            "type": f"Deployment.{event}",
            "details": {"id": deployment.id, "status": deployment.status},
            "resource": {
                "workspace": {"id": project.workspace_id, "name": project.workspace_name},
                "project": {"id": project.id, "name": project.name},
                "environment": {
                    "id": environment.id,
                    "name": environment.name,
                    "isEphemeral": environment.source is not None,
                },
                "service": {"id": instance.service.id, "name": instance.service.name},
                "deployment": {"id": deployment.id},
            },
            "severity": "CRITICAL" if event in BAD else "INFO",
            "timestamp": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds"),
        }
