"""One service of ours, as last known, and what a reading says of it: pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controller.backends.railway.shapes import ServiceInstance
from controller.backends.railway.statuses import Standing, standing_of
from controller.ports import RemoteState

UNDEPLOYED_SECONDS = 600.0
"""A service with a source but without a deployment is one that is about to be deployed only so long."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of ours."""

    id: str
    uid: str
    name: str
    made_at: float
    """When this process first heard of it, by its own clock."""
    created_at: datetime | None = None
    domain: str | None = None
    committed: bool = False
    """It has its source, and so all of its configuration."""
    deployment_id: str | None = None
    standing: Standing | None = None
    """``None``: nothing was ever deployed, as far as known."""
    absent_since: float | None = None
    """Since when the lists lack it."""
    drift: str = ""
    retains: bool | None = None
    """Whether its volume outlives it; ``None``: not known."""
    leaving: bool = False
    """Its deletion was granted: once the lists lack it, it is gone."""

    def seen(self, node: ServiceInstance, now: datetime) -> "Service":
        """As a reading shows it. What an answer said since the reading began is not taken back."""
        domains = node.domains.service_domains
        source, deployment = node.source, node.latest_deployment
        committed = self.committed or (source is not None and bool(source.image or source.repo))
        return replace(
            self,
            name=node.service_name,
            created_at=node.created_at,
            domain=domains[0].domain if domains else self.domain,
            committed=committed,
            deployment_id=deployment.id if deployment is not None else self.deployment_id,
            standing=self._standing(node, committed, now),
            absent_since=None,
        )

    def _standing(self, node: ServiceInstance, committed: bool, now: datetime) -> Standing | None:
        deployment = node.latest_deployment
        if deployment is not None:
            return standing_of(
                deployment.status, stopped=deployment.deployment_stopped, since=deployment.status_updated_at
            )
        # There is none for what was never deployed, and for what was torn down.
        if self.deployment_id is not None:
            return Standing(RemoteState.EXITED, "its deployment was removed at Railway")
        if committed and node.created_at is not None and now - node.created_at > timedelta(seconds=UNDEPLOYED_SECONDS):
            return Standing(RemoteState.EXITED, "it has no deployment at Railway: somebody removed it")
        return self.standing
