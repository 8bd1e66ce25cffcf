"""Things to decide on, in the fewest words: everything that a test does not name is ordinary."""

from datetime import UTC, datetime, timedelta
from typing import Any

from controller.core import claim as claims
from controller.core import instance as instances
from controller.core import pool as pools
from controller.core.breaker import Breaker
from controller.core.members import Member, MemberState
from controller.core.plan import Plan, Ref
from controller.model import FINALIZER, AgentClaim, AgentInstance, AgentPool, Condition

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW, OLD = "new-hash", "old-hash"
"""The current template of every pool here, and the one before it."""
NOTHING: Any = Plan()
"""The plan that does nothing and writes nothing, of whichever kind."""
NAMESPACE = "default"
POOL = "helpers"
RAILWAY: dict[str, Any] = {
    "railway": {"projectId": "p", "environmentId": "e", "tokenSecretRef": {"name": "railway", "key": "token"}}
}
"""A backend that builds and deploys."""
SLEEPY = {"railway": RAILWAY["railway"] | {"sleepApplication": True}}
"""One that puts to sleep what has no traffic, too."""


def at(seconds: float) -> datetime:
    """So many seconds after now; before it when negative."""
    return NOW + timedelta(seconds=seconds)


def ref(name: str) -> Ref:
    return Ref(NAMESPACE, name, f"uid-{name}")


def metadata(name: str, *, created: float = -3600, deleting: bool = False, **more: Any) -> dict[str, Any]:
    base = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    times = {"creationTimestamp": at(created), "deletionTimestamp": NOW if deleting else None}
    return base | times | more


def pool(*, deleting: bool = False, status: dict[str, Any] | None = None, **spec: Any) -> AgentPool:
    """A pool named helpers; its spec in the words of YAML."""
    content = {"backend": {"process": {}}} | spec
    return AgentPool.parse({"metadata": metadata(POOL, deleting=deleting), "spec": content, "status": status or {}})


def instance(
    name: str = "one",
    *,
    claim: str | None = None,
    template: str = NEW,
    finalizers: tuple[str, ...] = (FINALIZER,),
    backend: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **meta: Any,
) -> AgentInstance:
    """An instance of the pool helpers; its status in the words of YAML."""
    spec: dict[str, Any] = {
        "pool": POOL,
        "poolUid": f"uid-{POOL}",
        "templateHash": template,
        "backend": backend or {"process": {}},
    }
    if claim is not None:
        spec["claimRef"] = {"name": claim, "uid": f"uid-{claim}", "agentName": "Ada"}
    return AgentInstance.parse(
        {"metadata": metadata(name, finalizers=finalizers, **meta), "spec": spec, "status": status or {}}
    )


def claim(
    name: str = "wish",
    *,
    created: float = 0,
    deleting: bool = False,
    status: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    **spec: Any,
) -> AgentClaim:
    """A claim on the pool helpers, made just now; spec and status in the words of YAML."""
    return AgentClaim.parse(
        {
            "metadata": metadata(name, created=created, deleting=deleting, **(meta or {})),
            "spec": {"pool": POOL} | spec,
            "status": status or {},
        }
    )


def member(
    name: str,
    state: MemberState = MemberState.IDLE,
    *,
    template: str = NEW,
    ready: float | None = -60,
    created: float | None = -120,
    claimed: bool | None = None,
    trouble: str = "",
    drift: str = "",
    pending_create: bool = False,
) -> Member:
    """An instance as its pool counts it."""
    unready = state is MemberState.STARTING or ready is None
    return Member(
        ref=ref(name),
        version=7,
        state=state,
        template_hash=template,
        ready_at=None if unready else at(ready or 0),
        created=None if created is None else at(created),
        claimed=state is MemberState.CLAIMED if claimed is None else claimed,
        trouble=trouble,
        drift=drift,
        pending_create=pending_create,
    )


def members(count: int, state: MemberState = MemberState.IDLE, **more: Any) -> tuple[Member, ...]:
    """So many alike, the first one the oldest."""
    template = more.get("template", NEW)
    return tuple(
        member(f"{state.lower()}-{template}-{number}", state, created=-1000 + number, **more) for number in range(count)
    )


def waiting(name: str, *, priority: int = 0, created: float = 0, order: int = 0) -> pools.Waiting:
    return pools.Waiting(ref(name), priority, at(created), order, "Ada")


def seen_pool(
    of: AgentPool,
    *present: Member,
    claims: tuple[pools.Waiting, ...] = (),
    backend: pools.BackendHealth | None = None,
    breaker: Breaker | None = None,
) -> pools.ObservedPool:
    return pools.ObservedPool(
        key=of.key,
        pool=of,
        template_hash=NEW,
        members=present,
        waiting=claims,
        backend=backend or pools.BackendHealth(),
        breaker=breaker or Breaker(),
    )


def with_status(thing: Any, status: Any) -> Any:
    """The object after its status is written."""
    return thing if status is None else thing.model_copy(update={"status": status})


def condition(of: Any, kind: str = "Ready") -> Condition:
    """The condition of a status; the test fails when it is not there."""
    found: Condition = next(it for it in of.conditions if it.type == kind)
    return found


RUNNING = instances.RemoteFact(backend_id="4711", url="http://127.0.0.1:9000")
QUEUEING = claims.PoolView(
    provision_timeout_seconds=30,
    bind_timeout_seconds=None,
    default_lifetime_seconds=None,
    max_lifetime_seconds=None,
    queues=True,
    has_idle=False,
    why_empty="waiting for an instance of pool helpers to become idle",
)
