"""Keys: what a pass is about."""

from enum import StrEnum
from typing import NamedTuple


class PassKind(StrEnum):
    """The kinds of passes."""

    POOL = "pool"
    BIND = "bind"
    """The first step of a pool pass by itself: what a person waits for."""
    INSTANCE = "instance"
    CLAIM = "claim"
    ORPHANS = "orphans"


class Key(NamedTuple):
    """One pool, instance or claim by name; or, for orphans, one place."""

    kind: PassKind
    namespace: str
    name: str

    @property
    def object(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name


def pool_key(namespace: str, name: str) -> Key:
    """The key of an AgentPool."""
    return Key(PassKind.POOL, namespace, name)


def bind_key(namespace: str, name: str) -> Key:
    """The key of the bindings within an AgentPool."""
    return Key(PassKind.BIND, namespace, name)


def instance_key(namespace: str, name: str) -> Key:
    """The key of an AgentInstance."""
    return Key(PassKind.INSTANCE, namespace, name)


def claim_key(namespace: str, name: str) -> Key:
    """The key of an AgentClaim."""
    return Key(PassKind.CLAIM, namespace, name)


def orphans_key(place: str) -> Key:
    """The key of the orphans of a place."""
    return Key(PassKind.ORPHANS, "", place)
