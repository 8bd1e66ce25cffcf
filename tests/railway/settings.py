"""How the twin behaves when nothing goes wrong: plans, durations, and a switch wherever reports of Railway conflict."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account may do."""

    name: str
    per_hour: int
    """Requests."""
    per_second: int
    """Requests; for Free nobody tells, so it is taken to be as for Hobby."""
    volumes: int
    """In one project; for Free nobody tells, so it is taken to be one."""


PLANS: Mapping[str, Plan] = {
    plan.name: plan for plan in (Plan("Free", 100, 10, 1), Plan("Hobby", 1_000, 10, 10), Plan("Pro", 10_000, 50, 20))
}

Span = tuple[float, float]
"""Seconds: from, to."""


@dataclass
class Settings:
    """May be changed while the twin runs. Durations are seconds."""

    plan: str = "Pro"
    limited: bool = True
    """Whether the plan's limits on requests are kept."""
    limit_scope: Literal["token", "account"] = "token"
    """Who shares one budget of requests."""
    reset_format: Literal["epoch", "iso", "seconds"] = "epoch"
    """How X-RateLimit-Reset tells the end of the window."""
    unidentified_per_second: int = 10
    """Requests without ``?source=``, after which the edge answers 429 with a body that is not JSON."""
    services: int | None = None
    """How many a project may have; None: any number."""

    initializing: float = 0.02
    queued: float = 0.0
    building: float = 0.2
    deploying: float = 0.05
    removing: float = 0.02
    restarting: float = 0.1
    """Between a crash and the next start by the restart policy."""
    committing: float = 0.02
    """How long a commit of a patch takes, which is how long another one can come in its way."""
    draining: float = 0.0
    """Between SIGTERM and SIGKILL where ``drainingSeconds`` is not set."""
    idle: float = 600.0
    """Without traffic until a service with ``sleepApplication`` falls asleep."""
    waking: float = 30.0
    """For which the edge holds the request that wakes a sleeper."""
    waking_answers: bool = True
    """Whether the request that wakes a sleeper is held until it listens, or answered like one for what does not exist:
    both were seen."""
    healthcheck: float = 300.0
    """Deadline of a healthcheck where ``healthcheckTimeout`` is not set."""
    healthcheck_interval: float = 0.05
    invisible: Span = (0.1, 0.6)
    """How long a new service or deployment stays unseen when a fault of that kind strikes."""
    stale: Span = (0.1, 0.6)
    """How long a deleted service stays in lists when the fault of that name strikes."""
    slow: Span = (0.2, 1.0)
    """How long an answer takes when the fault of that name strikes."""
    retry_after: int = 1
    """What ``Retry-After`` says where the end of a window does not tell."""
    volume_deletion: float = 0.0
    """How long a deleted volume stays, pending."""

    create_everywhere: bool = False
    """Whether ``serviceCreate`` with the id of an environment that is no fork creates in all of these, as the schema's
    comment says, or in that one only, as others report."""
    update_deploys: bool = False
    """Whether ``serviceInstanceUpdate`` of a source deploys by itself."""
    concurrent_commits: Literal["lose", "fail", "merge"] = "lose"
    """What becomes of two commits to one environment at a time: the later one overwrites what the other did, or is
    refused, or both stand."""
    detached_volume: Literal["null", "old"] = "null"
    """What a volume says of its service after that was deleted: nothing, or still the old id."""
    unauthorized: Literal["errors", "status"] = "errors"
    """Whether a bad token is told by an error with HTTP 200 or with HTTP 401."""
    unknown_ids: Literal["missing", "unauthorized"] = "missing"
    """Whether an id that nobody has is not found, or ``Not Authorized``."""
    masked_value: str | None = None
    """What ``config`` shows for a variable that is not decrypted; None: no value at all."""
    tombstones: bool = False
    """Whether deleted services that are still listed say so in ``deletedAt``."""
    page: int = 500
    """The most nodes of one page, and how many come when nobody asks for a number."""
    label: str = "AGENTPOOL_LABEL_INSTANCE"
    """The variable by which creations are counted."""
    webhooks: list[str] = field(default_factory=list)
    """URLs to which events of deployments are posted."""

    @property
    def limits(self) -> Plan:
        """The plan."""
        return PLANS[self.plan]

    def change(self, values: Mapping[str, Any]) -> None:
        """Set some; ``ValueError`` for one that does not exist."""
        known = {each.name for each in dataclasses.fields(self)}
        if unknown := values.keys() - known:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        for name, value in values.items():
            setattr(self, name, tuple(value) if isinstance(getattr(self, name), tuple) else value)
