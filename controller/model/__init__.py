"""The three kinds of the group agentpool.dev, defined once; crds/ is generated from them."""

from controller.model.backend import BackendSpec, DockerBackend, RailwayBackend
from controller.model.claim import DEFAULT_INSTRUCTIONS, AgentClaim, ClaimPhase, ClaimStatus
from controller.model.instance import AgentInstance, ClaimRef, InstancePhase, InstanceStatus
from controller.model.meta import (
    API_VERSION,
    FINALIZER,
    GROUP,
    INSTALLATION,
    LEDGER_FINALIZER,
    POOL_LABEL,
    TEMPLATE_HASH_LABEL,
    VERSION,
    Condition,
    ObjectMeta,
    Resource,
    condition_of,
)
from controller.model.pool import AgentPool, BreakerState, BreakerStatus, PoolStatus, WarmStrategy, WhenEmpty
from controller.model.references import SecretKeyRef
from controller.model.template import Network, Template, template_hash

KINDS: tuple[type[Resource], ...] = (AgentPool, AgentInstance, AgentClaim)
"""Every kind of the group, in the order in which they are listed."""

__all__ = [
    "API_VERSION",
    "DEFAULT_INSTRUCTIONS",
    "FINALIZER",
    "LEDGER_FINALIZER",
    "GROUP",
    "INSTALLATION",
    "KINDS",
    "POOL_LABEL",
    "TEMPLATE_HASH_LABEL",
    "VERSION",
    "AgentClaim",
    "AgentInstance",
    "AgentPool",
    "BackendSpec",
    "BreakerState",
    "BreakerStatus",
    "ClaimPhase",
    "ClaimRef",
    "ClaimStatus",
    "Condition",
    "DockerBackend",
    "InstancePhase",
    "InstanceStatus",
    "Network",
    "ObjectMeta",
    "PoolStatus",
    "RailwayBackend",
    "Resource",
    "SecretKeyRef",
    "Template",
    "WarmStrategy",
    "WhenEmpty",
    "condition_of",
    "template_hash",
]
