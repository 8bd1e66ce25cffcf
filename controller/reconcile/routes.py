"""Routes: which keys a change concerns. An event teaches the view and names keys; it carries no decision."""

from collections.abc import Iterator

from controller import metrics
from controller.core.instancestatus import DRIFTED
from controller.model import AgentClaim, AgentInstance, AgentPool, InstancePhase, Resource, condition_of
from controller.reconcile.facts import Facts
from controller.reconcile.keys import Key, bind_key, claim_key, instance_key, orphans_key, pool_key
from controller.reconcile.places import Places
from controller.reconcile.queue import KeyedQueue
from controller.reconcile.view import View


class Routes:
    """Listens to the view and feeds the queue."""

    def __init__(self, view: View, places: Places, facts: Facts, queue: KeyedQueue) -> None:
        self._view = view
        self._places = places
        self._facts = facts
        self._queue = queue
        view.subscribe(self.changed)

    def changed(self, before: Resource | None, after: Resource | None) -> None:
        """An object appeared, changed or vanished."""
        thing = after if after is not None else before
        if after is None and before is not None:
            self._facts.drop(before)
        match thing:
            case AgentPool():
                keys = self._of_pool(thing, before, after)
            case AgentInstance():
                keys = self._of_instance(thing, before, after)
            case AgentClaim():
                keys = self._of_claim(thing, before, after)
            case _:
                return
        for key in keys:
            self._queue.add(key)

    def remote_changed(self, uid: str) -> None:
        """A backend told something new about the remote of an instance."""
        instance = self._view.instance_by_uid.get(uid)
        if instance is not None:
            # Whoever waits for it to end looks at once instead of when the next look is due.
            self._facts.instances[uid].terminate_asked_at = None
            self._queue.add(instance_key(*instance.key))

    def launch_admitted(self, uid: str) -> bool:
        """The place of an instance takes launches again. False: it is not to be launched any more."""
        instance = self._view.instance_by_uid.get(uid)
        if (
            instance is None
            or instance.metadata.deleting
            or instance.status.phase not in {None, InstancePhase.STARTING}
        ):
            return False
        # Whoever was kept waiting tries at once instead of when the next try is due.
        self._facts.instances[uid].trouble = None
        self._queue.add(instance_key(*instance.key))
        return True

    def suspicion_changed(self, instance: AgentInstance) -> None:
        """An instance may be handed out no more, or again."""
        pool = (instance.metadata.namespace, instance.spec.pool)
        if self._view.waiting(pool):
            self._queue.add(bind_key(*pool))

    def settled(self, thing: AgentInstance | AgentClaim) -> None:
        """The ledger has everything about an object that it was handed: who waited for that goes on."""
        if isinstance(thing, AgentClaim):
            self._queue.add(claim_key(*thing.key))
            return
        if thing.metadata.deleting:
            self._queue.add(instance_key(*thing.key))
        if thing.spec.claim_ref is not None:
            self._queue.add(claim_key(thing.metadata.namespace, thing.spec.claim_ref.name))

    def ledger_changed(self) -> None:
        """The ledger is well again, or not any more: pools say so, and claims may wait for it."""
        for pool in self._view.pools.values():
            self._queue.add(pool_key(*pool.key))
            for claim in self._view.waiting(pool.key):
                self._queue.add(claim_key(*claim.ref.key))

    def backend_listed(self, place: str) -> None:
        """A place was read, or could not be: its pools say so."""
        for pool in self._view.pools.values():
            if self._places.of(pool) == place:
                self._queue.add(pool_key(*pool.key))

    def _of_pool(self, pool: AgentPool, before: Resource | None, after: Resource | None) -> Iterator[Key]:
        if before is not None and after is not None and _same_spec(before, after):
            return  # our own status: what it was made from named the key already
        yield pool_key(*pool.key)
        if after is None:
            metrics.forget_pool(*pool.key)
        for member in self._view.members(pool.key):
            if not member.pending_create:
                yield instance_key(*member.ref.key)
        for claim in self._view.waiting(pool.key):
            yield claim_key(*claim.ref.key)

    def _of_instance(self, instance: AgentInstance, before: Resource | None, after: Resource | None) -> Iterator[Key]:
        meta, reference = instance.metadata, instance.spec.claim_ref
        old = before if isinstance(before, AgentInstance) and after is not None else None
        if reference is not None and (old is None or _for_claim(old) != _for_claim(instance)):
            yield claim_key(meta.namespace, reference.name)
        # One that vanished without its finalizer's work leaves an orphan.
        yield instance_key(*instance.key) if after is not None else orphans_key(self._places.of(instance))
        if old is None or _for_pool(old) != _for_pool(instance):
            pool = (meta.namespace, instance.spec.pool)
            if instance.status.phase is InstancePhase.IDLE and reference is None and self._view.waiting(pool):
                yield bind_key(*pool)
            self._queue.add_after(pool_key(*pool), self._view.count_seconds(pool))

    def _of_claim(self, claim: AgentClaim, before: Resource | None, after: Resource | None) -> Iterator[Key]:
        pool = (claim.metadata.namespace, claim.spec.pool)
        if before is None:
            yield bind_key(*pool)
        if after is not None:
            yield claim_key(*claim.key)
        holders = self._view.holders(claim.metadata.uid)
        for holder in holders:
            yield instance_key(*holder.key)
        changed = after is None or not isinstance(before, AgentClaim) or before.status.phase != claim.status.phase
        if changed and not holders:
            self._queue.add_after(pool_key(*pool), self._view.count_seconds(pool))


def _for_claim(instance: AgentInstance) -> tuple[object, ...]:
    """What a claim sees of its instance."""
    crashed = instance.status.phase is InstancePhase.CRASHED
    return instance.spec.claim_ref, instance.metadata.deleting, crashed, instance.status.url


def _for_pool(instance: AgentInstance) -> tuple[object, ...]:
    """What a pool sees of its instance."""
    status = instance.status
    drifted = condition_of(status.conditions, DRIFTED)
    drift = drifted.message if drifted is not None else ""
    return instance.spec.claim_ref, instance.metadata.deleting, status.phase, status.ready_at, status.message, drift


def _same_spec(before: Resource, after: Resource) -> bool:
    old, new = before.metadata, after.metadata
    return (old.uid, old.generation, old.deleting) == (new.uid, new.generation, new.deleting)
