"""What is measured, how it is called, and what it should reach."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from prometheus_client.parser import text_string_to_metric_families

_WRITES = frozenset({"create", "patch", "update", "delete", "deletecollection", "apply"})


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of request to the API server, as the controller counts it."""

    verb: str
    resource: str
    subresource: str
    code: str

    @property
    def name(self) -> str:
        """For people: ``patch agentclaims/status``."""
        return f"{self.verb} {self.resource}{'/' if self.subresource else ''}{self.subresource}"

    @property
    def writes(self) -> bool:
        """Whether it asks for a change."""
        return self.verb.lower() in _WRITES


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that only grows, at one moment."""

    at: float
    cpu: Mapping[str, float]
    """CPU seconds by program."""
    busy: float
    """CPU seconds of the whole machine."""
    requests: Counter[Request]
    """Requests of the controller to the API server."""
    passes: Counter[str]
    """Passes of the controller by kind and outcome."""


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two snapshots."""

    seconds: float
    cpu: Mapping[str, float]
    busy: float
    requests: Counter[Request]
    passes: Counter[str]

    @classmethod
    def between(cls, before: Snapshot, after: Snapshot) -> "Window":
        """The differences."""
        return cls(
            seconds=after.at - before.at,
            cpu={name: after.cpu[name] - seconds for name, seconds in before.cpu.items() if name in after.cpu},
            busy=after.busy - before.busy,
            requests=after.requests - before.requests,
            passes=after.passes - before.passes,
        )

    @property
    def other_cores(self) -> float:
        """How many cores were taken by programs that are not measured."""
        return max(0.0, self.busy - sum(self.cpu.values())) / self.seconds

    def writes(self, *resources: str) -> int:
        """How many writes, refused ones included; on these resources only, if any is named."""
        return sum(
            count
            for request, count in self.requests.items()
            if request.writes and (not resources or request.resource in resources)
        )

    def by_name(self, *, writes: bool) -> Counter[str]:
        """Writes or reads by name, refused ones apart."""
        names: Counter[str] = Counter()
        for request, count in self.requests.items():
            if request.writes == writes:
                names[request.name + ("" if request.code.startswith("2") else f" ({request.code})")] += count
        return names


def counters(exposition: str) -> tuple[Counter[Request], Counter[str]]:
    """The controller's requests to the API server, and its passes, in what its /metrics answers."""
    requests: Counter[Request] = Counter()
    passes: Counter[str] = Counter()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "agentpool_api_requests_total":
                labels = {name: sample.labels.get(name, "") for name in ("verb", "resource", "subresource", "code")}
                requests[Request(**labels)] += int(sample.value)
            elif sample.name == "agentpool_passes_total":
                passes[f"{sample.labels['kind']} {sample.labels['outcome']}"] += int(sample.value)
    return requests, passes


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of all values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True, slots=True)
class Result:
    """One run of one scenario."""

    scenario: str
    figures: Mapping[str, float]
    """Values by the names of FIGURES."""
    tables: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Values by name, under a heading: requests by kind, CPU by program."""
    faults: Sequence[str] = ()
    """What was wrong with what the controller did, in sentences."""
    unfinished: str | None = None
    """Why it did not come to its end."""

    @property
    def passed(self) -> bool:
        """Whether it ended and everything was right, however long it took."""
        return not self.faults and self.unfinished is None


def summarized(results: Sequence[Result]) -> Result:
    """The runs of one scenario as one: the median of each value, and all that went wrong."""
    tables: dict[str, dict[str, float]] = {}
    for heading in dict.fromkeys(heading for result in results for heading in result.tables):
        names = dict.fromkeys(name for result in results for name in result.tables.get(heading, {}))
        tables[heading] = {
            name: median(result.tables.get(heading, {}).get(name, 0.0) for result in results) for name in names
        }
    return Result(
        scenario=results[0].scenario,
        figures={
            name: median(result.figures[name] for result in results if name in result.figures)
            for name in FIGURES
            if any(name in result.figures for result in results)
        },
        tables=tables,
        faults=[fault for result in results for fault in result.faults],
        unfinished=next((result.unfinished for result in results if result.unfinished), None),
    )


FIGURES: Mapping[str, tuple[str, str]] = {
    "p50": ("POST to Bound, p50", "ms"),
    "p90": ("POST to Bound, p90", "ms"),
    "p95": ("POST to Bound, p95", "ms"),
    "p99": ("POST to Bound, p99", "ms"),
    "max": ("POST to Bound, max", "ms"),
    "all_bound": ("first POST until all are Bound", "s"),
    "other_cores": ("cores taken by programs that are not measured", ""),
    "late_p99": ("POST later than scheduled, p99", "ms"),
    "cpu_to_bound": ("controller CPU per claim until all Bound", "ms"),
    "cpu_per_claim": ("controller CPU per claim with refill and deletion", "ms"),
    "writes_to_bound": ("writes per claim to Bound: claims and claimRefs", ""),
    "claim_writes_to_bound": ("  of these on the claim, as the watch saw them", ""),
    "writes_per_life": ("writes per instance life: instances and claims", ""),
    "writes_per_claim": ("all writes per claim, Events and pools included", ""),
    "reads_per_claim": ("reads per claim", ""),
    "requests_per_creation": ("requests to Railway per instance, filling the pool", ""),
    "changes_per_creation": ("  of these to make its service", ""),
    "requests_per_claim": ("requests to Railway per claim, refill and deletion", ""),
    "requests_at_rest": ("requests to Railway in 30 s at rest", ""),
    "idle_p50": ("instance's creation to Idle, p50, deploying left out", "s"),
    "idle_max": ("instance's creation to Idle, max, deploying left out", "s"),
    "twin_deploys": ("  left out: what the twin takes to deploy an image", "s"),
    "ready": ("start until /readyz", "s"),
    "writes_after_restart": ("writes until 10 s after /readyz", ""),
    "changed_after_restart": ("objects that the restart changed", ""),
    "cpu_restart": ("controller CPU until /readyz", "s"),
    "cpu_at_rest": ("controller CPU per second at rest", "ms"),
    "idle_cores": ("thousandths of a core used by all idle containers", "m"),
    "container_memory": ("memory of one idle container", "MB"),
    "fill": ("time to fill the pool", "s"),
    "stop": ("SIGTERM until the end", "s"),
    "claim_after_restart": ("POST to Bound of a claim after the restart", "ms"),
    "memory": ("controller's peak memory", "MB"),
    "memory_restarted": ("  after the restart", "MB"),
    "log_problems": ("log lines of level warning and above", ""),
}
"""Every figure: what it is for people, and its unit."""

TARGETS: Mapping[tuple[str, str], float] = {
    ("serial", "p50"): 25,
    ("burst", "all_bound"): 2,
    ("poisson15", "p99"): 60,
    ("poisson45", "p99"): 150,
    ("restart", "writes_after_restart"): 0,
    ("restart", "ready"): 5,
    ("restart", "memory"): 150,
    ("restart", "memory_restarted"): 150,
    **{(name, "cpu_per_claim"): 10 for name in ("serial", "burst", "poisson15", "poisson45")},
    **{(name, "writes_per_life"): 8 for name in ("serial", "burst", "poisson15", "poisson45")},
    ("burst", "writes_to_bound"): 2,
    ("railway", "changes_per_creation"): 3,
    ("railway", "requests_at_rest"): 2,
}
"""What a scenario's figure should not exceed."""
