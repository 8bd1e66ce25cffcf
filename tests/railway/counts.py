"""What the twin saw."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Boot:
    """One start of a program."""

    service_id: str
    environment_id: str
    deployment_id: str
    label: str
    at: float
    reason: str
    """deploy, restart or wake."""
    variables: Mapping[str, str] = field(repr=False)
    """All that it was given, as the vendor would give it."""
    environ: Mapping[str, str] = field(repr=False)
    """What the process on this host really got."""


@dataclass
class Counts:
    """Since the twin started. All may be read at any time."""

    requests: Counter[str] = field(default_factory=Counter)
    """By name of the operation: all that arrived, refused ones included."""
    per_second: Counter[int] = field(default_factory=Counter)
    """Requests by second of the epoch."""
    violations: Counter[str] = field(default_factory=Counter)
    """Requests over a limit, by name of the operation."""
    unidentified: int = 0
    """Requests without ``?source=``."""
    mutations: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By service: how often which one was executed, failed ones included."""
    mutations_by_label: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """The same by the label of the service; creations that were refused are among them."""
    failed_mutations: Counter[str] = field(default_factory=Counter)
    """Mutations that were executed and refused, by name of the field."""
    created: Counter[str] = field(default_factory=Counter)
    """Services ever created, by label: more than one for a label is a double."""
    volumes_created: int = 0
    deployments: Counter[str] = field(default_factory=Counter)
    """Deployments ever begun, by service."""
    concurrent_commits: int = 0
    """Commits of patches that came while another one to the same environment was under way."""
    boots: list[Boot] = field(default_factory=list)
    webhooks: Counter[str] = field(default_factory=Counter)
    """Events that were posted, by type."""
    edge: Counter[str] = field(default_factory=Counter)
    """Requests that came in by a domain, by domain."""

    @property
    def total(self) -> int:
        """All requests to the API."""
        return self.requests.total()

    @property
    def peak(self) -> int:
        """The most requests in one second."""
        return max(self.per_second.values(), default=0)

    @property
    def doubles(self) -> dict[str, int]:
        """Labels for which more than one service was created."""
        return {label: count for label, count in self.created.items() if label and count > 1}

    def describe(self) -> dict[str, Any]:
        """As JSON, without what boots hold."""
        return {
            "requests": dict(self.requests),
            "total": self.total,
            "perSecond": {str(second): count for second, count in self.per_second.items()},
            "peak": self.peak,
            "violations": dict(self.violations),
            "unidentified": self.unidentified,
            "mutations": {service: dict(each) for service, each in self.mutations.items()},
            "mutationsByLabel": {label: dict(each) for label, each in self.mutations_by_label.items()},
            "failedMutations": dict(self.failed_mutations),
            "created": dict(self.created),
            "doubles": self.doubles,
            "volumesCreated": self.volumes_created,
            "deployments": dict(self.deployments),
            "concurrentCommits": self.concurrent_commits,
            "boots": len(self.boots),
            "webhooks": dict(self.webhooks),
            "edge": dict(self.edge),
        }
