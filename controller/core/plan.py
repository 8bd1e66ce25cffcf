"""The plan: every effect as data, so that logs, Events, metrics and dry runs come from one stream."""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from controller.model import ClaimStatus, InstanceStatus, PoolStatus


@dataclass(frozen=True, slots=True)
class Ref:
    """One object, and no later one of the same name."""

    namespace: str
    name: str
    uid: str

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Bind:
    """Write the claim on the instance: the binding itself."""

    instance: Ref
    version: int
    """The resource version that the decision was made on: the guard against another controller."""
    claim: Ref
    agent_name: str


@dataclass(frozen=True, slots=True)
class Create:
    """Make one more instance of the pool from its current template."""

    pool: Ref
    template_hash: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an instance; its finalizer then ends the remote."""

    instance: Ref
    reason: str
    message: str
    version: int | None = None
    """The resource version that the decision was made on, where a claim could have got it meanwhile."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Tell a claim that it gets nothing from this pool."""

    claim: Ref
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Launch:
    """Have the backend start the remote of an instance."""

    instance: Ref


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the runtime of an instance whether it is ready."""

    instance: Ref
    url: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Have the backend freeze the remote of an idle instance."""

    instance: Ref


@dataclass(frozen=True, slots=True)
class Resume:
    """Have the backend let the remote of an instance go on."""

    instance: Ref


@dataclass(frozen=True, slots=True)
class Rename:
    """Have the backend show the remote under a name that tells whose it is."""

    instance: Ref
    agent_name: str


@dataclass(frozen=True, slots=True)
class LearnToken:
    """Read the token of an instance before somebody waits for it."""

    instance: Ref


@dataclass(frozen=True, slots=True)
class SettleToken:
    """Have the Secret of an instance hold the token that counts since its claim, and no other."""

    instance: Ref
    url: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """Have the backend end the remote of an instance."""

    instance: Ref


@dataclass(frozen=True, slots=True)
class Release:
    """Take the finalizer off an instance: nothing of its remote is left, and its last record is safe."""

    instance: Ref


@dataclass(frozen=True, slots=True)
class Conclude:
    """Hand the end of an object to the ledger: what it still is says all that will ever be known of it."""

    subject: Ref


@dataclass(frozen=True, slots=True)
class Hold:
    """Put our finalizer on a claim, so that it cannot vanish before its last record is safe."""

    claim: Ref


@dataclass(frozen=True, slots=True)
class LetGo:
    """Take our finalizer off a claim: its last record is safe."""

    claim: Ref


@dataclass(frozen=True, slots=True)
class Provision:
    """Give the instance of a claim its conversation."""

    claim: Ref
    instance: Ref
    url: str


@dataclass(frozen=True, slots=True)
class AskAcceptance:
    """Ask an instance that waits to be accepted whether it is in the conversation by now."""

    claim: Ref
    instance: Ref
    url: str


@dataclass(frozen=True, slots=True)
class AskRivals:
    """Ask the instances that name one claim which of them has its conversation: late writes can make two."""

    claim: Ref
    instances: tuple[tuple[Ref, str], ...]
    """With their addresses."""


@dataclass(frozen=True, slots=True)
class EndOrphan:
    """Have a backend end a remote that nobody owns."""

    uid: str
    backend: str


PoolAction = Bind | Create | Delete | Reject
InstanceAction = (
    Launch | Probe | Pause | Resume | Rename | LearnToken | SettleToken | Terminate | Conclude | Release | Delete
)
ClaimAction = Provision | AskAcceptance | AskRivals | Delete | Hold | Conclude | LetGo
Action = PoolAction | InstanceAction | ClaimAction | EndOrphan


@dataclass(frozen=True, slots=True)
class Note:
    """An Event to publish about the object of the pass."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


StatusT = TypeVar("StatusT", PoolStatus, InstanceStatus, ClaimStatus)
ActionT = TypeVar("ActionT", PoolAction, InstanceAction, ClaimAction, EndOrphan)


@dataclass(frozen=True, slots=True)
class Plan(Generic[ActionT, StatusT]):
    """What one pass does.

    A plan without actions ends the pass: its status is written if it differs. A plan with actions is followed by
    another one; its status, which is rare, is written first, so that what is about to happen is on record.
    """

    actions: tuple[ActionT, ...] = ()
    status: StatusT | None = None
    """The whole status as it should be; ``None`` leaves it alone."""
    notes: tuple[Note, ...] = ()
    """Published once the status is written."""
    look_again_in: float | None = None
    """Seconds until time alone changes the decision; ``None``: only a change does."""


def soonest(*seconds: float | None) -> float | None:
    """The first of several times at which to look again."""
    return min((max(s, 0.0) for s in seconds if s is not None), default=None)
