"""A stage whose instances are services of the real agent: ``agentpool run`` as it ships, on the twin of Railway."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from tests.bench import verdict
from tests.bench.api import ApiError
from tests.bench.claims import SeenClaim
from tests.bench.figures import Window
from tests.bench.operators import Invocation
from tests.bench.pools import PoolSize
from tests.bench.processes import UnfinishedError
from tests.bench.services import ENVIRONMENT, Services
from tests.bench.stage import REST_SECONDS, Setting, Stage

PLAN = "Pro"
INTERVAL_SECONDS = 30.0
"""Between two looks at an environment at rest, with that plan."""
INTERVALS = 4
QUIET_SECONDS = 0.3
_IMAGE = "registry.example/agents/agent@sha256:" + "0" * 64
_SECRET = "railway"


class RailwayStage(Stage):
    """The operator with its railway backend, a Secret with the token, and a pool of the agent's image."""

    def __init__(self, setting: Setting, services: Services, name: str, size: PoolSize) -> None:
        way = {
            "projectId": services.told["project_id"],
            "environmentId": services.told["environments"][ENVIRONMENT],
            "tokenSecretRef": {"name": _SECRET, "key": "token"},
            "plan": PLAN,
        }
        spec: dict[str, Any] = {"backend": {"railway": way}, "template": {"image": _IMAGE, "network": "dev"}}
        super().__init__(setting, name, size, spec)
        self.services = services

    async def prepare(self) -> None:
        """Store the token."""
        token = self.services.told["project_tokens"][ENVIRONMENT]
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": _SECRET},
            "data": {"token": b64encode(token.encode()).decode()},
        }
        await self.api.request("POST", self._secrets, body)

    async def dismantle(self) -> None:
        """Remove the token; nothing if it was never stored."""
        try:
            await self.api.request("DELETE", f"{self._secrets}/{_SECRET}")
        except ApiError as error:
            if error.status != 404:
                raise

    @property
    def _secrets(self) -> str:
        return f"/api/v1/namespaces/{self.api.namespace}/secrets"

    def invocation(self, port: int) -> Invocation:
        """The command that users run."""
        return self.shipped(port, {**self.services.way, "AGENTPOOL_BACKENDS": "railway"})

    def pids(self) -> Mapping[str, int]:
        """The twin."""
        return self.services.pids

    async def rest(self) -> float:
        """Wait until there are only Idle instances, as many as there should be, each on a service that is deployed."""
        phases_wanted, statuses_wanted = {"Idle": self.pool.size.min_idle}, {"SUCCESS": self.pool.size.min_idle}
        full_at: float | None = None
        deadline = time.perf_counter() + REST_SECONDS
        while (now := time.perf_counter()) < deadline:
            self.operator.check_alive()
            phases, statuses = await self.pool.phases(), await self.services.statuses()
            if (phases, statuses) != (phases_wanted, statuses_wanted):
                full_at = None
            elif full_at is None:
                full_at = now
            elif now - full_at >= QUIET_SECONDS:
                return full_at
            await asyncio.sleep(0.1)
        raise UnfinishedError(
            f"the pool was not at rest after {REST_SECONDS:.0f} s: instances {dict(phases)}, "
            f"services {dict(statuses)}, status {await self.pool.status()}\n{self.operator.last_words()}"
        )

    async def idle(self) -> dict[str, float]:
        """What a full pool costs, and asks of Railway, while nothing happens but readings and health checks."""
        asked, before, used = await self.services.requests(), await self.snapshot(), self.services.agents_cpu()
        await asyncio.sleep(INTERVALS * INTERVAL_SECONDS)
        window = Window.between(before, await self.snapshot())
        return {
            "requests_at_rest": (await self.services.requests() - asked).total() / INTERVALS,
            "cpu_at_rest": window.cpu["controller"] * 1000 / window.seconds,
            "other_cores": self.other_cores(window, used),
        }

    def other_cores(self, window: Window, used: float) -> float:
        """What programs took that are not measured; ``used`` is what the agents had when the window began."""
        return max(0.0, window.other_cores - (self.services.agents_cpu() - used) / window.seconds)

    async def sight(self, claim: SeenClaim) -> verdict.Sight:
        """What there is while a claim is held; for the verdict."""
        stored = await self.pool.instances()
        statuses = await self.services.statuses()
        uids = [each["metadata"]["uid"] for each in stored if each["metadata"]["name"] == claim.instance]
        told = None
        if claim.instance and uids:
            token = await self.api.token(claim.instance)
            told = await self.services.conversation(uids[0], token, self.session)
        return verdict.Sight(claim.name, stored, statuses.total(), told)

    async def leaks(self) -> list[str]:
        """Services, and volumes, that outlived the pool."""
        return verdict.remains(await self.services.left(), "services")
