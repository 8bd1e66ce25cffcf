"""Places: over which connection a pool or an instance is reached."""

from collections.abc import Iterator

from controller.model import AgentInstance, AgentPool, BackendSpec, Resource
from controller.reconcile.view import View

Destination = tuple[str, ...]
"""Where a way leads, whatever it is entered with."""


class Places:
    """Names the place of everything in the view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._left: dict[tuple[str, Destination], BackendSpec] = {}
        """By uid of a pool: its last way to where it is no more."""
        view.subscribe(self._changed)

    def way(self, thing: AgentPool | AgentInstance) -> BackendSpec:
        """The options by which it is reached."""
        if isinstance(thing, AgentPool):
            return thing.spec.backend
        own = thing.spec.backend
        if own.railway is None:
            return own
        left = self._left.get((thing.spec.pool_uid, _destination(own)))
        return way_in(own, self._view.pools.get((thing.metadata.namespace, thing.spec.pool)), left)

    def of(self, thing: AgentPool | AgentInstance) -> str:
        """The name of its place."""
        return self.way(thing).place(thing.metadata.namespace)

    def in_use(self, place: str) -> bool:
        """Whether any pool or instance is there."""
        return any(self.of(thing) == place for thing in self.users())

    def users(self) -> Iterator[AgentPool | AgentInstance]:
        """All that are at places."""
        yield from self._view.pools.values()
        yield from self._view.instances.values()

    def _changed(self, before: Resource | None, after: Resource | None) -> None:
        """A pool that is deleted, or moves elsewhere, leaves instances behind that are still to be ended."""
        if not isinstance(before, AgentPool) or before.spec.backend.railway is None:
            return
        destination = _destination(before.spec.backend)
        if isinstance(after, AgentPool) and _destination(after.spec.backend) == destination:
            return
        owners = {instance.spec.pool_uid for instance in self._view.instances.values()}
        self._left = {key: way for key, way in self._left.items() if key[0] in owners}
        self._left[before.metadata.uid, destination] = before.spec.backend


def way_in(own: BackendSpec, pool: AgentPool | None, left: BackendSpec | None = None) -> BackendSpec:
    """The options by which an instance is reached: those that its pool has now, if they lead to where it is; else the
    last of the pool's that did, if they are known; else its own.

    How the operator gets in is no part of what an instance is, and changes without a rollout: a token is kept under
    another name, the account gets another plan. An instance keeps the options that it was made with, and with those
    alone the old ones could never be ended once the old token is gone.
    """
    leads = pool is not None and _destination(pool.spec.backend) == _destination(own)
    return pool.spec.backend if pool is not None and leads else left or own


def _destination(spec: BackendSpec) -> Destination:
    railway = spec.railway
    return (spec.name,) if railway is None else (spec.name, railway.project_id, railway.environment_id)
