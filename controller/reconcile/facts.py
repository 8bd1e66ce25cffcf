"""Facts: what runtimes and backends answered, kept by uid for the next observe. Lost in a crash, asked for again."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from controller.core.breaker import Breaker
from controller.core.claim import ProvisionOutcome, Rejection
from controller.core.instance import LaunchTrouble, ProbeFact
from controller.core.stages import Sighting
from controller.model import AgentClaim, AgentInstance, AgentPool, Resource


@dataclass(slots=True)
class Token:
    """The token of an instance, and where it is kept."""

    uid: str
    version: str
    """Of the Secret, as it was last seen."""
    current: str = field(repr=False)
    spare: str | None = field(repr=False)
    """What is to follow it at the claim; ``None``: the Secret holds no other."""
    rotated: bool | None = None
    """Whether the runtime took up the spare one; ``None``: nobody knows, unless no claim got it yet."""
    undecided: bool = False
    """The runtime could not be asked: both are kept, and tried, for as long as this controller works."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """Those that may open the instance, the likelier one first."""
        if self.spare is None or self.rotated is False:
            return (self.current,)
        return (self.spare,) if self.rotated else (self.current, self.spare)


@dataclass(slots=True)
class InstanceFacts:
    """What is known of an instance besides its resource and its remote."""

    first_seen_at: datetime | None = None
    sighting: Sighting | None = None
    """How far its remote was when it was last looked at."""
    probe: ProbeFact | None = None
    trouble: LaunchTrouble | None = None
    terminate_asked_at: datetime | None = None
    remote_gone: bool = False
    rename_refused: bool = False
    confidential: frozenset[str] | None = field(default=None, repr=False)
    """What it was given in confidence; ``None``: that is not known any more."""
    token: Token | None = None
    token_failed_at: datetime | None = None
    """When it could not be read or settled."""


@dataclass(slots=True)
class ClaimFacts:
    """What is known of a claim besides its resource."""

    first_seen_at: datetime | None = None
    outcome: ProvisionOutcome | None = None
    chosen: str | None = None
    """The uid of the one, of several instances that name it, that is the claim's."""
    accepted_conversation: str | None = None
    asked_at: datetime | None = None
    """When an instance was last asked for its conversation."""
    rejection: Rejection | None = None
    status_written_at: datetime | None = None


@dataclass(slots=True)
class PoolFacts:
    """What is known of a pool besides its resource."""

    generation: int = -1
    template_hash: str = ""
    breaker: Breaker | None = None
    counted: frozenset[str] = frozenset()
    """Uids of crashed instances that the breaker has counted."""
    status_written_at: datetime | None = None
    writing: bool = False
    failures: int = 0
    """Writes of this pool's passes that failed in a row."""


@dataclass(slots=True)
class Facts:
    """All facts, by uid; dropped with their object."""

    instances: defaultdict[str, InstanceFacts] = field(default_factory=lambda: defaultdict(InstanceFacts))
    claims: defaultdict[str, ClaimFacts] = field(default_factory=lambda: defaultdict(ClaimFacts))
    pools: defaultdict[str, PoolFacts] = field(default_factory=lambda: defaultdict(PoolFacts))

    def drop(self, gone: Resource) -> None:
        """The object is deleted for good."""
        uid = gone.metadata.uid
        if isinstance(gone, AgentInstance):
            self.instances.pop(uid, None)
        elif isinstance(gone, AgentClaim):
            self.claims.pop(uid, None)
        elif isinstance(gone, AgentPool):
            self.pools.pop(uid, None)
