"""AgentPool: what to keep warm, how many, where, built from what."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from controller.model.backend import BackendSpec
from controller.model.meta import Conditions, Moment, Resource, Schema
from controller.model.template import Template

Seconds = Annotated[int, Field(ge=1, le=31_536_000)]


class Startup(Schema):
    """How long a new instance may take, and how often it is asked."""

    deadline_seconds: Seconds = 300
    """Seconds until an instance that is still not ready counts as failed: from its creation, or with the railway
    backend from when its program runs."""
    build_deadline_seconds: Seconds = 1800
    """Seconds from its creation until an instance of the railway backend must be built. Waiting counts: for the limits
    on requests, and for its turn at the builder."""
    deploy_deadline_seconds: Seconds = 600
    """Seconds from the end of its build until the program of an instance of the railway backend must run."""
    probe_interval_milliseconds: Annotated[int, Field(ge=50, le=600_000)] = 500
    """Milliseconds between two readiness probes of a starting instance."""


class Health(Schema):
    """How idle and claimed instances are checked."""

    interval_seconds: Seconds = 30
    """Seconds between two checks of one instance."""
    failure_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    """Failed checks in a row after which an instance counts as Crashed."""
    timeout_seconds: Annotated[int, Field(ge=1, le=300)] = 5
    """Seconds within which an instance must answer a check or probe."""


class WhenEmpty(StrEnum):
    """What happens to a claim that finds no idle instance."""

    QUEUE = "Queue"
    FAIL = "Fail"


class ClaimPolicy(Schema):
    """How claims on this pool are treated."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.defaultLifetimeSeconds) || !has(self.maxLifetimeSeconds) || "
                    "self.defaultLifetimeSeconds <= self.maxLifetimeSeconds",
                    "message": "defaultLifetimeSeconds may not exceed maxLifetimeSeconds: lower the one or raise the "
                    "other",
                }
            ]
        }
    )
    when_empty: WhenEmpty = WhenEmpty.QUEUE
    """What happens to a claim while nothing is idle: Queue (it waits, and instances are launched for it) or Fail
    (it fails at once)."""
    bind_timeout_seconds: Seconds | None = None
    """Seconds after which a claim that is still not bound fails. Absent: it waits for ever."""
    provision_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Seconds that one instance has to take up a conversation, retries included. After that it is destroyed and the
    claim is bound to another."""
    default_lifetime_seconds: Seconds | None = None
    """Seconds from binding after which a claim that names no lifetime expires. Absent: it does not expire."""
    max_lifetime_seconds: Seconds | None = None
    """Upper limit of a claim's lifetime in seconds; longer wishes, and none, are cut to it."""


class Rollout(Schema):
    """How idle instances are replaced when the template changes. Claimed ones are never touched."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.strategy != 'RollingUpdate' || self.maxSurge > 0 || self.maxUnavailable > 0",
                    "message": "maxSurge and maxUnavailable may not both be 0: the rollout could never take a step; "
                    "raise one of them",
                }
            ]
        }
    )
    strategy: Literal["RollingUpdate", "OnDelete"] = "RollingUpdate"
    """RollingUpdate replaces outdated idle instances step by step, and those that somebody changed at their backend;
    OnDelete leaves them until they are claimed or deleted."""
    max_surge: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many warm instances above minIdle may exist during a rollout."""
    max_unavailable: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many of minIdle may be missing during a rollout."""


class CircuitBreaker(Schema):
    """When the pool stops launching because launches fail."""

    failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """Failed launches in a row that open the circuit."""
    open_seconds: Seconds = 60
    """Seconds without launches while it is open; then one instance is launched as a probe. While that is undecided,
    another one follows after as many seconds, then after twice as many, up to failures in all."""


class WarmStrategy(StrEnum):
    """How idle instances wait for their claim."""

    RUNNING = "Running"
    PAUSED = "Paused"


class PoolSpec(Schema):
    """The pool that somebody wants."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.minIdle <= self.maxTotal",
                    "message": "minIdle may not exceed maxTotal: raise maxTotal or lower minIdle",
                    "fieldPath": ".minIdle",
                },
                {
                    "rule": "!has(self.backend.docker) || (has(self.template) && has(self.template.image))",
                    "message": "the docker backend runs images: set template.image",
                },
                {
                    "rule": "!has(self.backend.railway) || (has(self.template) && "
                    "(has(self.template.image) || has(self.template.git)))",
                    "message": "the railway backend runs an image or builds source code: set template.image or "
                    "template.git",
                },
                {
                    "rule": "!has(self.backend.railway) || !has(self.template) || !has(self.template.resources) || "
                    "!has(self.template.resources.pids)",
                    "message": "the railway backend has no pids: remove it from template.resources",
                },
                {
                    "rule": "!has(self.backend.process) || !has(self.template) || !(has(self.template.image) || "
                    "has(self.template.git) || has(self.template.volume) || (has(self.template.resources) && "
                    "(has(self.template.resources.cpu) || has(self.template.resources.pids))))",
                    "message": "the process backend has no image, git, volume, cpu or pids: remove them from template, "
                    "or use backend.docker",
                },
                {
                    "rule": "!has(self.warmStrategy) || self.warmStrategy == 'Running' || has(self.backend.docker)",
                    "message": "only the docker backend can pause instances: set warmStrategy to Running, use "
                    "backend.docker, or with backend.railway set sleepApplication",
                },
            ]
        }
    )
    min_idle: Annotated[int, Field(ge=0, le=10_000)] = 1
    """How many instances to hold warm and unclaimed. 0 launches on demand. kubectl scale sets this."""
    max_total: Annotated[int, Field(ge=1, le=10_000)] = 10
    """How many instances may exist at all: starting, idle, claimed, crashed and terminating ones together."""
    paused: bool = False
    """While true nothing is launched, replaced or scaled down. Idle instances are still handed out."""
    warm_strategy: WarmStrategy = WarmStrategy.RUNNING
    """How idle instances wait: Running, or Paused: frozen by the backend, without a share of the processor, and
    resumed at claim in some tens of milliseconds. Health checks wake them for a moment."""
    backend: BackendSpec
    """Where instances run: exactly one backend."""
    template: Template = Field(default_factory=Template)
    """What runs inside an instance. A change rolls over the idle instances."""
    startup: Startup = Field(default_factory=Startup)
    """How long a new instance may take."""
    health: Health = Field(default_factory=Health)
    """How idle and claimed instances are checked."""
    claims: ClaimPolicy = Field(default_factory=ClaimPolicy)
    """How claims on this pool are treated."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How idle instances are replaced when the template changes."""
    circuit_breaker: CircuitBreaker = Field(default_factory=CircuitBreaker)
    """When the pool stops launching because launches fail."""


class BreakerState(StrEnum):
    """Whether launches are allowed."""

    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"


class BreakerStatus(Schema):
    """The circuit breaker on launches."""

    state: BreakerState = BreakerState.CLOSED
    """Closed (launching), Open (not launching) or HalfOpen (launching probes)."""
    failures: int = 0
    """Failed launches in a row."""
    opened_at: Moment | None = None
    """When it last opened."""
    last_failure: str | None = None
    """What the last failed launch said."""
    last_failure_at: Moment | None = None
    """When that was."""


class PoolStatus(Schema):
    """The pool as it is."""

    observed_generation: int | None = None
    """The generation of the spec that this status speaks of."""
    idle: int = 0
    """Instances that are ready and unclaimed."""
    starting: int = 0
    """Instances that are not ready yet."""
    claimed: int = 0
    """Instances that belong to a claim."""
    crashed: int = 0
    """Instances that died or stopped answering."""
    terminating: int = 0
    """Instances that are being destroyed."""
    total: int = 0
    """All instances."""
    waiting_claims: int = 0
    """Claims that wait for an instance."""
    template_hash: str | None = None
    """Hash of the current template."""
    updated: int = 0
    """Unclaimed instances that are as the current template says: built from it, and changed by nobody since."""
    selector: str | None = None
    """Label selector of the pool's instances, for the scale subresource."""
    circuit_breaker: BreakerStatus | None = None
    """The circuit breaker on launches."""
    conditions: Conditions = ()
    """Ready, Progressing, Degraded and BackendAvailable."""


class AgentPool(Resource):
    """Keeps a number of agents warm, so that a claim gets one in milliseconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "size(self.metadata.name) <= 50",
                    "message": "the name of a pool may have 50 characters at most, since its instances are named "
                    "after it: choose a shorter one",
                }
            ]
        }
    )
    kind_name: ClassVar[str] = "AgentPool"
    plural: ClassVar[str] = "agentpools"

    spec: PoolSpec
    """The pool that somebody wants."""
    status: PoolStatus = Field(default_factory=PoolStatus)
    """The pool as it is; written by the operator."""
