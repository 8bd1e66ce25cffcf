"""What is sent to the API server: manifests and merge patches."""

from collections.abc import Mapping
from typing import Any

from controller.core.plan import Bind
from controller.model import (
    API_VERSION,
    FINALIZER,
    POOL_LABEL,
    TEMPLATE_HASH_LABEL,
    AgentInstance,
    AgentPool,
    ClaimStatus,
    InstanceStatus,
    ObjectMeta,
    PoolStatus,
)

AnyStatus = PoolStatus | InstanceStatus | ClaimStatus


def instance_manifest(pool: AgentPool, name: str, template_hash: str) -> dict[str, Any]:
    """A new instance of a pool. The finalizer is there from the start: no remote can ever exist without it."""
    spec = pool.spec
    return {
        "apiVersion": API_VERSION,
        "kind": AgentInstance.kind_name,
        "metadata": {
            "name": name,
            "namespace": pool.metadata.namespace,
            "labels": {POOL_LABEL: pool.metadata.name, TEMPLATE_HASH_LABEL: template_hash},
            "finalizers": [FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": AgentPool.kind_name,
                    "name": pool.metadata.name,
                    "uid": pool.metadata.uid,
                    "controller": True,
                }
            ],
        },
        "spec": {
            "pool": pool.metadata.name,
            "poolUid": pool.metadata.uid,
            "templateHash": template_hash,
            "backend": spec.backend.model_dump(mode="json", by_alias=True, exclude_none=True),
            "template": spec.template.model_dump(mode="json", by_alias=True, exclude_none=True),
        },
    }


def binding_patch(bind: Bind) -> dict[str, Any]:
    """The binding, valid only for the very version that the decision was made on."""
    return {
        "metadata": {"resourceVersion": str(bind.version), "uid": bind.instance.uid},
        "spec": {"claimRef": {"name": bind.claim.name, "uid": bind.claim.uid, "agentName": bind.agent_name}},
    }


def finalizers_patch(meta: ObjectMeta, *, add: str = "", drop: str = "") -> dict[str, Any]:
    """Puts a finalizer on or takes one off, and leaves those of others; guarded by version, since one may have been
    added since."""
    names = [name for name in meta.finalizers if name != drop] + [add] * bool(add)
    return {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": names or None}}


def status_patch(uid: str, before: AnyStatus, after: AnyStatus, *, version: str | None = None) -> dict[str, Any] | None:
    """The difference as a merge patch, guarded by uid and, where given, by version; ``None`` where there is none."""
    if before == after:
        return None
    difference = _difference(_dump(before), _dump(after))
    guards = {"uid": uid} if version is None else {"uid": uid, "resourceVersion": version}
    return {"metadata": guards, "status": difference} if difference else None


def _dump(status: AnyStatus) -> dict[str, Any]:
    # What was never said is left out, and so differs from a count of 0 that is said now: columns show the 0.
    return status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                changed[name] = inner
        elif value != old:
            changed[name] = value
    return changed
