"""The instances of a pool as it counts them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.core.plan import Ref


class MemberState(StrEnum):
    """One instance as its pool counts it; every instance is in exactly one of these."""

    STARTING = "Starting"
    IDLE = "Idle"
    SUSPECT = "Suspect"
    CLAIMED = "Claimed"
    CRASHED = "Crashed"
    TERMINATING = "Terminating"


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of the pool, writes in flight included."""

    ref: Ref
    version: int
    state: MemberState
    template_hash: str
    ready_at: datetime | None = None
    created: datetime | None = None
    claimed: bool = False
    crashed_at: datetime | None = None
    pool_uid: str = ""
    """The pool it was made for: one of the same name may have taken its place. Empty: not told."""
    trouble: str = ""
    """Why it does not start, or why it crashed."""
    drift: str = ""
    """How somebody changed it at its backend, if anybody did."""
    pending_create: bool = False
    """The request that creates it is still under way: it cannot be acted on yet."""

    def is_current(self, template_hash: str) -> bool:
        """Whether it is what a new one would be: of the pool's template, and since it was ready changed by nobody."""
        warm = self.state in {MemberState.IDLE, MemberState.SUSPECT}
        return self.template_hash == template_hash and not (warm and self.drift)


@dataclass(frozen=True, slots=True)
class Census:
    """The members of a pool by state; those that are to be bound now count as claimed."""

    starting: list[Member] = field(default_factory=list)
    idle: list[Member] = field(default_factory=list)
    """Suspects included: they are warm, though not handed out."""
    claimed: list[Member] = field(default_factory=list)
    crashed: list[Member] = field(default_factory=list)
    terminating: list[Member] = field(default_factory=list)

    @classmethod
    def take(cls, members: Iterable[Member], bound: Collection[str]) -> "Census":
        """Count once; everything else reads the result."""
        census = cls()
        groups = {
            MemberState.STARTING: census.starting,
            MemberState.IDLE: census.idle,
            MemberState.SUSPECT: census.idle,
            MemberState.CLAIMED: census.claimed,
            MemberState.CRASHED: census.crashed,
            MemberState.TERMINATING: census.terminating,
        }
        for member in members:
            (census.claimed if member.ref.uid in bound else groups[member.state]).append(member)
        return census


def newest_first(members: Iterable[Member]) -> list[Member]:
    """In the order in which they go when the pool shrinks."""
    return sorted(members, key=lambda m: (m.created is None, m.created or datetime.max, m.ref.name), reverse=True)
