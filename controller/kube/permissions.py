"""What the operator asks of the API server, and where: the client asks for nothing that is not written down here."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from controller.model import GROUP, INSTALLATION, AgentClaim, AgentInstance, AgentPool

LEASE_NAME = "agentpool"
"""The Lease by which one of several replicas leads, unless a setting says otherwise."""


class Where(StrEnum):
    """In which namespaces a right is needed."""

    SERVED = "served"
    """In each one whose pools the operator works on."""
    OWN = "own"
    """In its own, where it keeps what replicas share."""


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource, as a Role names them."""

    where: Where
    group: str
    resource: str
    """With its subresource: ``agentpools/status``."""
    verb: str
    name: str = ""
    """The only object that is meant; empty: any."""


def _rights(where: Where, group: str, resource: str, *verbs: str, name: str = "") -> Iterator[Right]:
    return (Right(where, group, resource, verb, name) for verb in verbs)


RIGHTS: tuple[Right, ...] = (
    # Read by the watch and the relist; one by one when a write was refused, or one is missing from a list.
    *_rights(Where.SERVED, GROUP, AgentPool.plural, "get", "list", "watch"),
    # Patched only to put on and take off the finalizer that holds a claim until the ledger has its last record.
    *_rights(Where.SERVED, GROUP, AgentClaim.plural, "get", "list", "watch", "patch"),
    *_rights(Where.SERVED, GROUP, AgentInstance.plural, "get", "list", "watch", "create", "patch", "delete"),
    *_rights(Where.SERVED, GROUP, f"{AgentPool.plural}/status", "patch"),
    *_rights(Where.SERVED, GROUP, f"{AgentClaim.plural}/status", "patch"),
    *_rights(Where.SERVED, GROUP, f"{AgentInstance.plural}/status", "patch"),
    # Whose names people write into pools and claims. Never list or watch: that would be all of them at once.
    # Each instance has one with its token; it goes with its owner, so nothing is ever deleted.
    *_rights(Where.SERVED, "", "secrets", "get", "create", "patch"),
    *_rights(Where.SERVED, "", "configmaps", "get"),
    *_rights(Where.SERVED, "", "events", "create"),
    # A rule for create cannot name what is created: the name is in the body, which RBAC does not read.
    *_rights(Where.OWN, "", "configmaps", "create"),
    *_rights(Where.OWN, "", "configmaps", "get", name=INSTALLATION),
    # Where earlier versions kept the id, and a key.
    *_rights(Where.OWN, "", "secrets", "get", name=INSTALLATION),
    *_rights(Where.OWN, "coordination.k8s.io", "leases", "create"),
    *_rights(Where.OWN, "coordination.k8s.io", "leases", "get", "update", name=LEASE_NAME),
)

_ASKED = {(right.verb, right.resource) for right in RIGHTS}


def require(verb: str, resource: str, subresource: str = "") -> None:
    """Raise ``RuntimeError`` for what no Role would allow, since it is not among ``RIGHTS``."""
    asked = f"{resource}/{subresource}" if subresource else resource
    if (verb, asked) not in _ASKED:
        raise RuntimeError(f"{verb} {asked} is not declared in controller/kube/permissions.py, so no Role allows it")
