"""What a project holds."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

Config = dict[str, Any]
"""A service's or an environment's part of the configuration, in the shape of a patch."""
LOG_LINES = 5000


@dataclass(eq=False)
class Service:
    """One for all environments of its project."""

    id: str
    name: str
    project: "Project" = field(repr=False)
    created: float
    updated: float
    icon: str | None = None
    deleted: float | None = None
    label: str = ""
    """Whose it is: the value of the variable by which creations are counted."""


@dataclass(eq=False)
class Domain:
    """Leads to a service of one environment."""

    id: str
    domain: str
    target_port: int | None
    created: float


@dataclass(frozen=True, slots=True)
class Line:
    """One of a log."""

    at: float
    text: str
    error: bool = False


@dataclass(eq=False)
class Deployment:
    """One attempt to run an instance as it was configured at the time."""

    id: str
    instance: "Instance" = field(repr=False)
    config: Config
    created: float
    status: str
    updated: float
    history: list[str] = field(default_factory=list)
    """All statuses that it went through."""
    stopped: bool = False
    """Its process ended, and will not be started again."""
    torn_down: bool = False
    """Somebody removed it, so it is not the latest one any more."""
    machine: str = "CREATED"
    """Status of its one machine."""
    machine_id: str = ""
    visible: float = 0.0
    """When it can be seen."""
    forced: str | None = None
    """A status that a test wants to be seen instead."""
    build_log: deque[Line] = field(default_factory=lambda: deque(maxlen=LOG_LINES), repr=False)
    log: deque[Line] = field(default_factory=lambda: deque(maxlen=LOG_LINES), repr=False)

    @property
    def shown(self) -> str:
        """The status that everybody is told."""
        return self.forced or self.status


@dataclass(eq=False)
class Instance:
    """A service in one environment."""

    id: str
    service: Service
    environment: "Environment" = field(repr=False)
    created: float
    updated: float
    config: Config = field(default_factory=dict)
    visible: float = 0.0
    """When it can be seen."""
    deleted: float | None = None
    listed_until: float = 0.0
    """How long it is listed although it is deleted."""
    domains: list[Domain] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    had_variables: set[str] = field(default_factory=set)
    """All that it ever had and that nobody took away."""

    def latest(self, now: float = float("inf")) -> Deployment | None:
        """The latest deployment that can be seen; None when there never was one or it was torn down."""
        last = next((each for each in reversed(self.deployments) if each.visible <= now), None)
        return None if last is None or last.torn_down else last


@dataclass(eq=False)
class Volume:
    """A disk of a project."""

    id: str
    name: str
    project: "Project" = field(repr=False)
    created: float


@dataclass(eq=False)
class Mount:
    """A volume in one environment: what Railway calls its instance."""

    id: str
    volume: Volume
    environment: "Environment" = field(repr=False)
    service_id: str | None
    path: str
    created: float
    region: str = "us-west2"
    attached: bool = True
    pending_deletion: bool = False
    """It is being deleted."""


@dataclass(eq=False)
class Environment:
    """One of a project."""

    id: str
    name: str
    project: "Project" = field(repr=False)
    created: float
    source: "Environment | None" = None
    """What it is a fork of."""
    instances: dict[str, Instance] = field(default_factory=dict, repr=False)
    """By id of the service."""
    mounts: dict[str, Mount] = field(default_factory=dict, repr=False)
    """By id of the volume."""
    shared: dict[str, str] = field(default_factory=dict)
    """Variables of all of its services, for those that refer to them."""
    commits: int = 0
    """Commits of patches under way."""
    applied: int = 0
    """Commits ever applied."""


@dataclass(eq=False)
class Project:
    """Of one workspace."""

    id: str
    name: str
    workspace_id: str
    workspace_name: str
    created: float
    environments: dict[str, Environment] = field(default_factory=dict, repr=False)
    services: dict[str, Service] = field(default_factory=dict, repr=False)
    volumes: dict[str, Volume] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """What a client shows. A Project token is for one environment."""

    value: str = field(repr=False)
    id: str
    kind: Literal["Project", "Account", "Workspace"]
    project: Project | None = None
    """Of a Project token."""
    environment: Environment | None = None
    """Of a Project token."""
    workspace_id: str = ""
    read_only: bool = False
