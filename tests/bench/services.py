"""The services of one environment as the twin of Railway tells of them, past the controller."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import psutil

from tests.railway import RemoteControl, Settings, TwinProcess

ENVIRONMENT = "dev"
DEPLOY_SECONDS = Settings().initializing + Settings().deploying
"""What the twin takes at least to deploy an image; nothing is built."""
CREATING = ("serviceCreate", "volumeCreate", "serviceDomainCreate", "environmentPatchCommit")


class Services:
    """What a twin has and was asked for. Nobody but the controller asks its API for anything."""

    def __init__(self, twin: TwinProcess) -> None:
        self.told: Mapping[str, Any] = twin.told
        self._pid = twin.process.pid
        self._control: RemoteControl = twin.control

    @property
    def way(self) -> dict[str, str]:
        """The variables by which the operator finds it."""
        return {"RAILWAY_API_URL": self.told["url"], "RAILWAY_EDGE_URL": self.told["edge_url"]}

    @property
    def pids(self) -> dict[str, int]:
        """The twin's own process, with its API and its edge; what is deployed runs below it."""
        return {"twin": self._pid}

    async def state(self) -> dict[str, Any]:
        """All that there is, and all that was counted."""
        return await asyncio.to_thread(self._control.state)

    async def requests(self) -> Counter[str]:
        """Requests to the API until now, by operation."""
        return Counter((await asyncio.to_thread(self._control.counts))["requests"])

    async def changes_per_service(self) -> float:
        """How many mutations it took to make one service."""
        counts = await asyncio.to_thread(self._control.counts)
        made = sum(each.get(name, 0) for each in counts["mutations"].values() for name in CREATING)
        created: int = sum(counts["created"].values())
        return made / created if created else 0.0

    async def statuses(self) -> Counter[str]:
        """How many services there are with each status of their latest deployment."""
        return Counter(
            str((service["latest"] or {}).get("status")) for service in self._alive(await self.state()).values()
        )

    async def conversation(self, uid: str, token: str, session: aiohttp.ClientSession) -> str | None:
        """The conversation in which the agent of an instance says it is."""
        for service in self._alive(await self.state()).values():
            if service["label"] == uid and service["domains"]:
                url = self.told["edge_url"].format(domain=service["domains"][0])
                async with session.get(
                    f"{url}/convos/status", headers={"Authorization": f"Bearer {token}"}, raise_for_status=True
                ) as response:
                    told = (await response.json())["conversation"]
                    return str(told["id"]) if told else None
        return None

    async def left(self) -> list[str]:
        """Names of services and volumes that are still there."""
        state = await self.state()
        volumes = self._environment(state)["volumes"].values()
        return [each["name"] for each in (*self._alive(state).values(), *volumes)]

    def agents_cpu(self) -> float:
        """CPU seconds that all that was ever deployed has used until now; what has ended, its parent answers for."""
        twin = psutil.Process(self._pid)
        ended = twin.cpu_times()
        seconds = ended.children_user + ended.children_system
        for process in twin.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                seconds += sum(process.cpu_times()[:4])
        return float(seconds)

    def _environment(self, state: Mapping[str, Any]) -> dict[str, Any]:
        project = state["projects"][self.told["project_id"]]
        found: dict[str, Any] = project["environments"][self.told["environments"][ENVIRONMENT]]
        return found

    def _alive(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {key: each for key, each in self._environment(state)["services"].items() if not each["deleted"]}
