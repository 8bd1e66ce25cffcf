"""What the controller needs from the world: the API server, the backends, the runtimes.

Every implementation of a port passes the contract suite of that port in ``tests/contract``. All methods raise the
errors of ``controller.errors`` and nothing else on purpose.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from controller.core.transitions import Record
from controller.model import BackendSpec, Resource, SecretKeyRef, Template

AnyResource = TypeVar("AnyResource", bound=Resource)

Fence = Callable[[], None]
"""Asked right before an effect; raises ``Transient`` once this process may have none any more."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A Kubernetes Event about one object."""

    about: Resource
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A Secret as the API server keeps it."""

    uid: str
    version: str
    owner: str | None
    """UID of the object that controls it."""
    content: Mapping[str, str] = field(repr=False)
    type: str = "Opaque"


class Cluster(Protocol):
    """The API server. Every answer to a write is the object as it is now stored.

    Raises ``Conflict`` on 409, ``Missing`` on a 404 that names the object, ``Refused`` on 400, 403 and 422,
    ``Transient`` on all that may pass, ``Unserved`` if the server does not know the kind.
    """

    async def list(self, kind: type[AnyResource]) -> Sequence[AnyResource]:
        """All objects of a kind in the namespaces that the controller serves."""
        ...

    async def read(self, kind: type[AnyResource], namespace: str, name: str) -> AnyResource:
        """One object as it is now."""
        ...

    async def create(self, kind: type[AnyResource], namespace: str, body: Mapping[str, Any]) -> AnyResource:
        """Create an object; ``Conflict`` when the name is taken."""
        ...

    async def patch(
        self,
        kind: type[AnyResource],
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: Literal["", "status"] = "",
    ) -> AnyResource:
        """Apply a JSON merge patch. A ``metadata.resourceVersion`` or ``metadata.uid`` in it is a precondition."""
        ...

    async def delete(
        self, kind: type[AnyResource], namespace: str, name: str, *, uid: str, version: int | None = None
    ) -> AnyResource | None:
        """Ask for deletion of exactly that object, at that resource version if one is given; else ``Conflict``.

        ``None``: it is gone already; otherwise it waits for its finalizers.
        """
        ...

    async def read_secret(self, namespace: str, name: str) -> StoredSecret:
        """A Secret as it is now, its content decoded."""
        ...

    async def create_secret(self, namespace: str, body: Mapping[str, Any]) -> StoredSecret:
        """Create a Secret; ``Conflict`` when the name is taken."""
        ...

    async def patch_secret(self, namespace: str, name: str, body: Mapping[str, Any]) -> StoredSecret:
        """Apply a JSON merge patch, with the preconditions of ``patch``."""
        ...

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """The content of a ConfigMap."""
        ...

    async def announce(self, announcement: Announcement) -> None:
        """Publish an Event."""
        ...


class RemoteState(StrEnum):
    """What a backend knows of a remote. Whether the agent inside is ready is for the runtime to say."""

    BUILDING = "Building"
    """It waits for its turn, or is being built."""
    DEPLOYING = "Deploying"
    """It is built, and is being brought to where it will run."""
    RUNNING = "Running"
    PAUSED = "Paused"
    """It exists, is frozen, and goes on where it was once it is resumed."""
    SLEEPING = "Sleeping"
    """The backend has put it to sleep by itself; whoever talks to it wakes it."""
    EXITED = "Exited"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Remote:
    """One instance as its backend sees it: a process, a container, a service."""

    uid: str
    """UID of the AgentInstance for which it was made."""
    backend_id: str
    """The backend's own name for it, for people."""
    state: RemoteState
    url: str | None = None
    """Where its runtime listens; known at the latest when it runs."""
    message: str = ""
    """Why it exited, in a sentence."""
    anonymous: bool = False
    """It bears the name that it was made with; ``rename`` gives it one that a person recognises."""
    since: datetime | None = None
    """When it came into its state, where the backend tells."""
    partial: bool = False
    """Its launch stopped half-way: only a launch of the same instance goes on with it."""
    drift: str = ""
    """How it differs from what it was made as, in a sentence, when somebody changed it at the backend."""
    namespace: str = ""
    """Of the AgentInstance, as far as the backend knows."""


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """Everything that a backend needs to start one instance."""

    uid: str
    name: str
    namespace: str
    pool: str
    backend: BackendSpec
    template: Template
    env: Mapping[str, str] = field(repr=False)
    """The complete environment besides what only the backend knows (PORT, OPENCLAW_STATE_DIR); holds secrets."""
    pull_secret: str | None = field(default=None, repr=False)
    """Credentials for the image's registry: the content of a Secret of type kubernetes.io/dockerconfigjson."""


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What a backend is opened with."""

    installation: str
    """Id of this installation of the operator: it marks its remotes, and only what bears it is ever touched."""
    state_dir: Path
    """Where a backend may keep files on the host of the operator."""
    default_command: tuple[str, ...]
    """What runs where a template names no command and no image."""
    environ: Mapping[str, str] = field(repr=False)
    """The operator's own environment: where a backend is, and how to get in (DOCKER_HOST and its kin)."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it is worth asking a backend for all it has; in seconds."""

    slow: float = 30.0
    """At rest."""
    fast: float = 30.0
    """While something is built, deployed or ended."""


class Backend(Protocol):
    """One place where instances run, over one connection."""

    @property
    def pace(self) -> Pace:
        """How often ``list`` is worth its price."""
        ...

    async def launch(self, order: LaunchOrder) -> Remote:
        """Start the instance, or find it started: at most one remote ever exists for a uid.

        Safe to repeat after a crash at any line. ``Refused`` when the order can never work as it stands, ``Transient``
        when the backend cannot do it now, ``Barred`` when it can do nothing of the kind now. Returns without waiting
        for the runtime to be ready.
        """
        ...

    async def terminate(self, uid: str, *, grace: float) -> bool:
        """Begin, or go on, ending the remote. True once nothing of it is left; False while it is still stopping.

        Never blocks for the grace period (seconds between asking and forcing); unknown uids are gone: True.
        """
        ...

    async def pause(self, uid: str) -> Remote:
        """Freeze a running remote, or find it frozen.

        ``Missing`` when there is none, ``Refused`` where a backend cannot.
        """
        ...

    async def resume(self, uid: str) -> Remote:
        """Let a frozen remote go on, or find it running. ``Missing`` when there is none."""
        ...

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        """Give it a name by which a person recognises the claimed agent, where the backend shows names.

        It is found by its uid before and after. ``Missing`` when there is none.
        """
        ...

    def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        """What it has written, in chunks: all, or the last ``tail`` lines; and, following, what it will write until
        it ends. ``Missing`` when there is none.
        """
        ...

    async def list(self) -> Sequence[Remote]:
        """Every remote that this installation made and that still leaves a trace, exited ones included."""
        ...

    def changes(self) -> AsyncIterator[Remote]:
        """Remotes whose state changed, as soon as that is known. A hint: ``list`` stays the truth.

        ``Transient`` when the backend was lost: whatever happened meanwhile is told to who follows again.
        """
        ...

    async def close(self) -> None:
        """Let go of everything held in this process; remotes live on."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection leads, and how it gets in."""

    name: str
    """As ``BackendSpec.place`` names it."""
    spec: BackendSpec
    """The options that lead there, of any pool or instance that is there."""
    secret: Callable[[SecretKeyRef], Awaitable[str]] = field(repr=False)
    """Reads a Secret of the place's namespace as it is now; ``Missing`` names what is not there."""


class Provider(Protocol):
    """One kind of backend: opens a connection to each place where pools run."""

    def connect(self, place: Place) -> Backend:
        """The backend there. Asks nothing of anybody yet: whether it can be used, its ``list`` says."""
        ...

    async def close(self) -> None:
        """Let go of what its connections share; they are closed before."""
        ...


@dataclass(frozen=True, slots=True)
class FixedPlace:
    """The provider of a backend that finds its one place by itself, and was opened before."""

    backend: Backend

    def connect(self, place: Place) -> Backend:
        """That backend."""
        return self.backend

    async def close(self) -> None:
        """Close it."""
        await self.backend.close()


@runtime_checkable
class TakesHints(Protocol):
    """A provider that is glad to hear that something happened at one of its places."""

    def hinted(self, project_id: str | None, environment_id: str | None, service_id: str | None) -> None:
        """A hint, never the truth; ``None`` for what it does not say. Does not block, and raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to talk to the program inside one instance."""

    url: str
    protocol: Literal["pool", "convos"]
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a probe found."""

    ready: bool
    detail: str = ""
    """Why it is not ready, in a sentence; empty when it is."""


@dataclass(frozen=True, slots=True)
class ProvisionOrder:
    """What an instance is to become."""

    key: str
    """UID of the claim: the same key never makes a second conversation."""
    agent_name: str
    instructions: str = field(repr=False)
    join_url: str | None = field(default=None, repr=False)
    next_token: str | None = field(default=None, repr=False)
    """The token that is to open the instance from then on, where the protocol has that."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What the runtime answered."""

    conversation_id: str | None
    invite_url: str | None = field(repr=False)
    joined: bool
    pending: bool = False
    """Joining, but somebody in the conversation has to accept it first."""
    token_rotated: bool = False
    """Only the order's ``next_token`` opens it from now on."""


UNAUTHORIZED = "Unauthorized"
"""The reason with which a runtime refuses whoever comes with another token than its own."""


class Runtime(Protocol):
    """The HTTP contract of the program inside an instance, in both protocols."""

    async def probe(self, endpoint: Endpoint, *, timeout: float) -> Readiness:  # noqa: ASYNC109 - part of the order
        """Ask whether it is ready. Never raises for what the other side does: a bad answer is not ready."""
        ...

    async def provision(self, endpoint: Endpoint, order: ProvisionOrder, *, timeout: float) -> Provisioned:  # noqa: ASYNC109
        """Give it its conversation.

        ``Conflict``: it holds another conversation. ``Refused``: it will never take this order. ``Transient``: no
        answer in ``timeout`` seconds, unreachable, or not ready; it may or may not have acted, so only the same key
        may be used again.
        """
        ...

    async def conversation(self, endpoint: Endpoint, *, timeout: float) -> str | None:  # noqa: ASYNC109
        """The conversation it is in by now, if any: for joins that somebody had to accept.

        ``Refused`` with the reason ``UNAUTHORIZED``: another token opens it.
        """
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the ledger was handed and Postgres has not."""

    records: int = 0
    since: datetime | None = None
    """When the oldest of them was handed over."""
    full: bool = False
    """It takes no more: what is handed over now is missed, and asked for once there is room again."""


class LedgerListener(Protocol):
    """Who wants to know how the ledger is getting on. Neither method may block or raise."""

    def settled(self, uid: str) -> None:
        """Everything that was handed over about an object has arrived."""
        ...

    def missed(self, uid: str) -> None:
        """Records about an object were not taken, and now there is room: derive them anew and hand them over."""
        ...


class Ledger(Protocol):
    """The append-only account of what happened to instances and claims."""

    def record(self, records: Sequence[Record]) -> None:
        """Hand over, in order; what was handed over before is known by its key and passed over.

        On return the records outlive a kill of this process. Raises nothing: what finds no room is missed, and told to
        the listener when there is room again.
        """
        ...

    def safe(self, uid: str) -> bool:
        """Whether everything that was handed over about an object has arrived, and nothing was missed."""
        ...

    async def settled(self, uid: str) -> None:
        """Wait until it is safe, however long that takes."""
        ...

    @property
    def backlog(self) -> Backlog:
        """How far it is behind."""
        ...

    @property
    def health(self) -> str | None:
        """What is wrong, and what to do about it, in a sentence; ``None`` while all is well."""
        ...

    @property
    def barrier(self) -> str | None:
        """Why no claim may be given an instance now, in a sentence; ``None``: they may. Only a strict one has it."""
        ...

    @property
    def strict(self) -> bool:
        """Whether a claim may only be told that it is bound once that is ``safe``."""
        ...

    def listen(self, listener: LedgerListener) -> None:
        """Tell this one from now on, in place of any other."""
        ...

    async def run(self) -> None:
        """Bring to Postgres what was handed over, until cancelled."""
        ...

    async def close(self) -> None:
        """Let go of everything. What has not arrived stays on disk for the next one."""
        ...
