"""The view: the controller's picture of the three kinds, which reads its own writes.

Every answer of the API server to a write is learned at once, and what is older than known is ignored, so that no pass
decides on a picture older than its own last action. Writes under way are reserved here and count as if done.
"""

import itertools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from controller.core.members import Member, MemberState
from controller.core.plan import Ref
from controller.core.pool import Waiting
from controller.model import AgentClaim, AgentInstance, AgentPool, InstancePhase, Resource
from controller.reconcile.filing import is_misled, lives_elsewhere, member_of, waiting_of

ObjectKey = tuple[str, str]
Listener = Callable[[Resource | None, Resource | None], None]
"""Called with the object before and after every change; ``None`` stands for absent."""

TOMBSTONES = 20_000
"""How many uids of deleted objects are remembered, so that a late event does not bring one back."""
COUNT_SECONDS = 0.02
COUNT_SECONDS_PER_MEMBER = 0.0003


class View:
    """What is known of pools, instances and claims, indexed the way the passes ask."""

    def __init__(self) -> None:
        self.pools: dict[ObjectKey, AgentPool] = {}
        self.instances: dict[ObjectKey, AgentInstance] = {}
        self.claims: dict[ObjectKey, AgentClaim] = {}
        self.instance_by_uid: dict[str, AgentInstance] = {}
        self.positions: dict[str, int] = {}
        """Place in its pool's queue by uid of the claim; kept by the pool passes."""
        self._members: defaultdict[ObjectKey, dict[str, Member]] = defaultdict(dict)
        self._idle: defaultdict[ObjectKey, dict[str, Member]] = defaultdict(dict)
        self._waiting: defaultdict[ObjectKey, dict[str, Waiting]] = defaultdict(dict)
        self._holders: defaultdict[str, dict[str, AgentInstance]] = defaultdict(dict)
        self._claim_by_uid: dict[str, AgentClaim] = {}
        self._order: dict[str, int] = {}
        self._count = itertools.count()
        self._versions: dict[str, int] = {}
        self._tombstones: OrderedDict[str, None] = OrderedDict()
        self._reserved: dict[str, str] = {}
        self._reserved_claims: set[str] = set()
        self._deleting: set[str] = set()
        self._suspects: set[str] = set()
        self._vacated: set[str] = set()
        self._rejected: set[str] = set()
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Have it called at every change from now on."""
        self._listeners.append(listener)

    def learn(self, thing: Resource) -> bool:
        """Take in an object from the watch, a list or the answer to a write. False: nothing new."""
        store = self._store(thing)
        before, meta = store.get(thing.key), thing.metadata
        if meta.uid in self._tombstones:
            return False
        if before is not None and before.metadata.uid == meta.uid and before.metadata.version >= meta.version:
            return False
        if before is not None and before.metadata.uid != meta.uid:
            if before.metadata.version > meta.version:
                return False
            self.forget(before)
            before = None  # to listeners one vanishes and another appears
        store[thing.key] = thing
        self._versions[meta.uid] = meta.version
        self._index(thing)
        self._tell(before, thing)
        if isinstance(thing, AgentPool):
            self._sort_out(before, thing)
        return True

    def forget(self, thing: Resource) -> bool:
        """The object is deleted for good. False: that was known."""
        self.bury(thing.metadata.uid)
        self._versions.pop(thing.metadata.uid, None)
        store = self._store(thing)
        known = store.get(thing.key)
        if known is None or known.metadata.uid != thing.metadata.uid:
            return False
        del store[thing.key]
        self._unindex(known)
        self._tell(known, None)
        return True

    def is_news(self, uid: str, version: int, deleted: bool) -> bool:
        """Whether an event can teach anything: most only repeat the answer to a write of our own."""
        return uid not in self._tombstones and (deleted or version > self._versions.get(uid, -1))

    def memory(self) -> tuple[Mapping[str, int], Set[str]]:
        """The version of each object by its uid, and the uids of what is gone, as of now."""
        return dict(self._versions), set(self._tombstones)

    def known(self, thing: Resource) -> Resource | None:
        """What is known under the name of that object."""
        return self._store(thing).get(thing.key)

    def everything(self) -> Iterator[Resource]:
        """All objects of all kinds."""
        return itertools.chain(self.pools.values(), self.instances.values(), self.claims.values())

    # What the passes ask.

    def members(self, pool: ObjectKey) -> tuple[Member, ...]:
        """The instances of a pool, writes in flight included."""
        return tuple(self._members[pool].values()) if pool in self._members else ()

    def count_seconds(self, pool: ObjectKey) -> float:
        """How long counting and refilling wait for more of the same: a burst is then one pass and not hundreds.

        The larger the pool, the longer a pass takes, and the more of its members change at once.
        """
        return max(COUNT_SECONDS, len(self._members.get(pool, ())) * COUNT_SECONDS_PER_MEMBER)

    def idle(self, pool: ObjectKey) -> Iterable[Member]:
        """Those of them that are healthy and belong to nobody."""
        return (self._idle.get(pool) or {}).values()

    def waiting(self, pool: ObjectKey) -> tuple[Waiting, ...]:
        """The claims on a pool that have no instance, in no order."""
        return tuple(self._waiting[pool].values()) if pool in self._waiting else ()

    def claim_by_uid(self, uid: str) -> AgentClaim | None:
        """The claim with that uid, if it exists."""
        return self._claim_by_uid.get(uid)

    def has_heard_of(self, claim_uid: str) -> bool:
        """Whether it is certain that the claim exists, or that it does no more."""
        return claim_uid in self._claim_by_uid or claim_uid in self._tombstones

    def is_pool_gone(self, instance: AgentInstance) -> bool | None:
        """Whether the pool of an instance exists no more; ``None``: it is not known, which is not the same."""
        pool = self.pools.get((instance.metadata.namespace, instance.spec.pool))
        if pool is not None:
            return pool.metadata.deleting or pool.metadata.uid != instance.spec.pool_uid
        return True if instance.spec.pool_uid in self._tombstones else None

    def bury(self, uid: str) -> None:
        """Whatever had this uid is known to be gone."""
        self._tombstones[uid] = None
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)

    def holder(self, claim_uid: str) -> AgentInstance | None:
        """The instance that belongs to a claim: the one that its owner was told of, once there is one.

        Until then one that is being deleted only if there is no other. There can be two after a binding that was given
        up for lost and arrived late, or with two controllers.
        """
        held = self.holders(claim_uid)
        claim = self._claim_by_uid.get(claim_uid)
        if claim is not None and claim.status.phase is not None and claim.status.phase.provisioned:
            return next((instance for instance in held if instance.metadata.name == claim.status.instance), None)
        return min(held, key=lambda instance: (self.is_going(instance), instance.metadata.name), default=None)

    def holders(self, claim_uid: str) -> tuple[AgentInstance, ...]:
        """Every instance that names the claim."""
        return tuple(self._holders[claim_uid].values()) if claim_uid in self._holders else ()

    def is_going(self, instance: AgentInstance) -> bool:
        """Whether it is deleted, or about to be by a request under way."""
        return instance.metadata.deleting or instance.metadata.uid in self._deleting

    def is_suspect(self, uid: str) -> bool:
        """Whether an instance is in doubt, and not handed out."""
        return uid in self._suspects

    def is_free(self, uid: str) -> bool:
        """Whether an instance is idle and nobody's, requests under way included."""
        instance = self.instance_by_uid.get(uid)
        return instance is not None and self._state(instance) is MemberState.IDLE

    # Reservations: writes under way.

    def reserve(self, instance: Ref, claim: Ref) -> None:
        """A binding is being written."""
        self._reserved[instance.uid] = claim.uid
        self._reserved_claims.add(claim.uid)
        self._refresh(instance.uid, claim.uid)

    def release(self, instance: Ref, claim: Ref) -> None:
        """The binding is written, or was not."""
        self._reserved.pop(instance.uid, None)
        self._reserved_claims.discard(claim.uid)
        self._refresh(instance.uid, claim.uid)

    def is_being_bound(self, claim_uid: str) -> bool:
        """Whether a binding of the claim is being written."""
        return claim_uid in self._reserved_claims

    def begin_create(self, pool: ObjectKey, name: str, template_hash: str) -> None:
        """An instance is being created: it counts from now on."""
        ref = Ref(pool[0], name, "")
        self._members[pool][f"creating/{name}"] = Member(
            ref, 0, MemberState.STARTING, template_hash, pending_create=True
        )

    def end_create(self, pool: ObjectKey, name: str) -> None:
        """The instance is created, or was not."""
        self._members[pool].pop(f"creating/{name}", None)

    def begin_delete(self, instance: Ref) -> bool:
        """An instance is being deleted. False: it was already."""
        if instance.uid in self._deleting:
            return False
        self._deleting.add(instance.uid)
        self._refresh(instance.uid)
        return True

    def end_delete(self, instance: Ref) -> None:
        """The deletion is written, or was not."""
        self._deleting.discard(instance.uid)
        self._refresh(instance.uid)

    def vacate(self, instance: Ref) -> None:
        """Nothing is left of the remote of an instance that is being deleted: it is no member any more."""
        if instance.uid in self.instance_by_uid:
            self._vacated.add(instance.uid)
            self._refresh(instance.uid)

    def suspect(self, instance: Ref, suspected: bool) -> bool:
        """It is in doubt, since a health check failed or its program is about to be another: it is not handed out
        until one succeeds. True: that changed."""
        if instance.uid not in self.instance_by_uid or suspected == (instance.uid in self._suspects):
            return False
        (self._suspects.add if suspected else self._suspects.discard)(instance.uid)
        self._refresh(instance.uid)
        return True

    def reject(self, claim: Ref) -> None:
        """The pool has answered that there is nothing for the claim: it waits no more."""
        self._rejected.add(claim.uid)
        self._refresh("", claim.uid)

    # Indexes.

    def _store(self, thing: Resource) -> "dict[ObjectKey, Resource]":
        stores: dict[type[Resource], dict[ObjectKey, Resource]] = {
            AgentPool: self.pools,  # type: ignore[dict-item]
            AgentInstance: self.instances,  # type: ignore[dict-item]
            AgentClaim: self.claims,  # type: ignore[dict-item]
        }
        return stores[type(thing)]

    def _index(self, thing: Resource) -> None:
        if isinstance(thing, AgentInstance):
            self.instance_by_uid[thing.metadata.uid] = thing
            self._file_member(thing)
            if thing.spec.claim_ref is not None:
                uid = thing.spec.claim_ref.uid
                self._holders[uid][thing.metadata.uid] = thing
                self._file_waiting(self._claim_by_uid.get(uid))
        elif isinstance(thing, AgentClaim):
            self._claim_by_uid[thing.metadata.uid] = thing
            self._order.setdefault(thing.metadata.uid, next(self._count))
            self._file_waiting(thing)

    def _unindex(self, thing: Resource) -> None:
        uid = thing.metadata.uid
        if isinstance(thing, AgentInstance):
            self.instance_by_uid.pop(uid, None)
            self._members[thing.metadata.namespace, thing.spec.pool].pop(uid, None)
            self._idle[thing.metadata.namespace, thing.spec.pool].pop(uid, None)
            self._deleting.discard(uid)
            self._suspects.discard(uid)
            self._vacated.discard(uid)
            if thing.spec.claim_ref is not None:
                holders = self._holders[thing.spec.claim_ref.uid]
                holders.pop(uid, None)
                if not holders:
                    del self._holders[thing.spec.claim_ref.uid]
                self._file_waiting(self._claim_by_uid.get(thing.spec.claim_ref.uid))
        elif isinstance(thing, AgentClaim):
            self._claim_by_uid.pop(uid, None)
            self._order.pop(uid, None)
            self._rejected.discard(uid)
            self.positions.pop(uid, None)
            self._waiting[thing.metadata.namespace, thing.spec.pool].pop(uid, None)

    def _refresh(self, instance_uid: str, claim_uid: str = "") -> None:
        instance = self.instance_by_uid.get(instance_uid)
        if instance is not None:
            self._file_member(instance)
            if instance.spec.claim_ref is not None:
                self._file_waiting(self._claim_by_uid.get(instance.spec.claim_ref.uid))
        self._file_waiting(self._claim_by_uid.get(claim_uid))

    def _file_member(self, instance: AgentInstance) -> None:
        uid, pool = instance.metadata.uid, (instance.metadata.namespace, instance.spec.pool)
        if uid in self._vacated:
            self._members[pool].pop(uid, None)
            self._idle[pool].pop(uid, None)
            return
        taken = instance.spec.claim_ref is not None or uid in self._reserved
        member = member_of(instance, self._state(instance), claimed=taken)
        self._members[pool][uid] = member
        if member.state is MemberState.IDLE:
            self._idle[pool][uid] = member
        else:
            self._idle[pool].pop(uid, None)

    def _state(self, instance: AgentInstance) -> MemberState:
        if self.is_going(instance):
            return MemberState.TERMINATING
        if instance.status.phase is InstancePhase.CRASHED:
            return MemberState.CRASHED
        if instance.spec.claim_ref is not None or instance.metadata.uid in self._reserved:
            return MemberState.CLAIMED
        if instance.status.phase is InstancePhase.IDLE:
            pool = self.pools.get((instance.metadata.namespace, instance.spec.pool))
            kept_back = instance.metadata.uid in self._suspects or lives_elsewhere(instance, pool)
            return MemberState.SUSPECT if kept_back else MemberState.IDLE
        return MemberState.STARTING

    def _file_waiting(self, claim: AgentClaim | None) -> None:
        if claim is None:
            return
        uid, pool = claim.metadata.uid, (claim.metadata.namespace, claim.spec.pool)
        if not self._is_waiting(claim):
            self._waiting[pool].pop(uid, None)
            self.positions.pop(uid, None)
        elif uid not in self._waiting[pool]:
            self._waiting[pool][uid] = waiting_of(claim, self._order[uid])

    def _is_waiting(self, claim: AgentClaim) -> bool:
        phase, uid = claim.status.phase, claim.metadata.uid
        if claim.metadata.deleting or uid in self._reserved_claims or uid in self._rejected:
            return False
        if phase is not None and (phase.ended or phase.provisioned):
            return False
        if is_misled(claim, self.pools.get((claim.metadata.namespace, claim.spec.pool))):
            return False
        # A deletion that is only asked for may fail: until it is granted, the claim has its instance.
        return all(instance.metadata.deleting for instance in self.holders(uid))

    def _sort_out(self, before: Resource | None, pool: AgentPool) -> None:
        """Its agents live in another network now: other claims than before can get one, and of other instances.

        After the listeners were told, so that they still name those among the waiting claims that do not wait any more.
        """
        if isinstance(before, AgentPool) and before.spec.template.lives_in is pool.spec.template.lives_in:
            return
        for claim in self.claims.values():
            if claim.spec.join_url is not None and (claim.metadata.namespace, claim.spec.pool) == pool.key:
                self._file_waiting(claim)
        for uid in tuple(self._members.get(pool.key, ())):
            self._refresh(uid)

    def _tell(self, before: Resource | None, after: Resource | None) -> None:
        for listener in self._listeners:
            listener(before, after)
