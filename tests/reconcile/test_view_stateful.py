"""The indexes of the view always say what counting everything anew would say, whatever happened before."""

from collections.abc import Iterable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.core.members import MemberState
from controller.core.plan import Ref
from controller.model import AgentClaim, AgentInstance, Resource
from controller.reconcile.view import View
from tests.core.builders import at, claim, instance

POOLS = (("default", "helpers"), ("default", "others"))
PHASES = st.sampled_from([None, "Starting", "Idle", "Idle", "Claimed", "Crashed"])
CLAIM_PHASES = st.sampled_from([None, "Pending", "Binding", "Bound", "Failed"])
INDEX = st.integers(0, 10**6)


class Everything(RuleBasedStateMachine):
    """An API server that tells of its changes late, twice or out of order, and a controller that writes meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.view = View()
        self.versions = 0
        self.history: list[Resource] = []
        """Every state of every object that there ever was."""
        self.told: dict[str, Resource] = {}
        """The newest state of every object that the view was told of, by uid."""
        self.gone: set[str] = set()
        self.reserved: dict[str, str] = {}
        self.deleting: set[str] = set()
        self.suspects: set[str] = set()
        self.rejected: set[str] = set()
        self.creating: set[tuple[tuple[str, str], str]] = set()
        self.changes: list[tuple[Resource | None, Resource | None]] = []
        self.view.subscribe(lambda before, after: self.changes.append((before, after)))

    # What happens at the API server.

    def meta(self, name: str, uid: str | None) -> dict[str, Any]:
        self.versions += 1
        return {"uid": uid or f"{name}-{self.versions}", "resourceVersion": str(self.versions)}

    def keep(self, thing: Resource, tell: bool) -> None:
        self.history.append(thing)
        if tell:
            self.tell(thing)

    def tell(self, thing: Resource) -> None:
        """The view learns a state, as the model of it does: the newest wins, and what is gone stays gone."""
        uid, name = thing.metadata.uid, thing.key
        namesake = next((it for it in self.told.values() if it.key == name and type(it) is type(thing)), None)
        news = uid not in self.gone and (namesake is None or namesake.metadata.version < thing.metadata.version)
        assert self.view.learn(thing) is news
        if not news:
            return
        if namesake is not None and namesake.metadata.uid != uid:
            self.bury(namesake)
        self.told[uid] = thing

    def bury(self, thing: Resource) -> None:
        uid = thing.metadata.uid
        self.gone.add(uid)
        self.told.pop(uid, None)
        for memory in (self.deleting, self.suspects, self.rejected):
            memory.discard(uid)

    def known(self, kind: type[Any]) -> list[Any]:
        return [thing for thing in self.told.values() if isinstance(thing, kind)]

    @rule(
        name=st.sampled_from(["i", "j", "k"]),
        of=st.sampled_from(["helpers", "others"]),
        phase=PHASES,
        going=st.booleans(),
        tell=st.booleans(),
    )
    def an_instance_is_made(self, name: str, of: str, phase: str | None, going: bool, tell: bool) -> None:
        thing = instance(name, status={"phase": phase, "readyAt": at(0)}, deleting=going, **self.meta(name, None))
        self.keep(moved(thing, of), tell)

    @rule(
        name=st.sampled_from(["a", "b", "c"]),
        of=st.sampled_from(["helpers", "others"]),
        phase=CLAIM_PHASES,
        tell=st.booleans(),
    )
    def a_claim_is_made(self, name: str, of: str, phase: str | None, tell: bool) -> None:
        self.keep(claim(name, status={"phase": phase}, meta=self.meta(name, None), pool=of), tell)

    @precondition(lambda self: self.history)
    @rule(which=INDEX, phase=PHASES, ended=CLAIM_PHASES, owner=INDEX, going=st.booleans(), tell=st.booleans())
    def an_object_changes(
        self, which: int, phase: str | None, ended: str | None, owner: int, going: bool, tell: bool
    ) -> None:
        old = self.history[which % len(self.history)]
        newest = [it for it in self.history if it.metadata.uid == old.metadata.uid][-1]
        meta, name = self.meta(newest.metadata.name, newest.metadata.uid), newest.metadata.name
        if isinstance(newest, AgentClaim):
            deleting = newest.metadata.deleting or going
            mine = [it.metadata.name for it in self.holders(newest.metadata.uid)]
            status = {"phase": ended, "instance": mine[owner % len(mine)] if mine and ended == "Bound" else None}
            self.keep(claim(name, status=status, deleting=deleting, meta=meta, pool=newest.spec.pool), tell)
        elif isinstance(newest, AgentInstance):
            owners = [it for it in self.history if isinstance(it, AgentClaim)]
            bound = newest.spec.claim_ref or (owners and going and reference(owners[owner % len(owners)])) or None
            deleting = newest.metadata.deleting or (going and phase == "Crashed")
            thing = instance(name, status={"phase": phase, "readyAt": at(0)}, deleting=deleting, **meta)
            self.keep(moved(thing, newest.spec.pool, bound), tell)

    @precondition(lambda self: self.history)
    @rule(which=INDEX)
    def an_old_event_arrives(self, which: int) -> None:
        self.tell(self.history[which % len(self.history)])

    @precondition(lambda self: self.history)
    @rule(which=INDEX)
    def a_deletion_arrives(self, which: int) -> None:
        thing = self.history[which % len(self.history)]
        assert self.view.forget(thing) is (thing.metadata.uid in self.told)
        self.bury(thing)

    # What the controller has under way.

    @rule(one=INDEX, wish=INDEX)
    def a_binding_begins(self, one: int, wish: int) -> None:
        free = [it for it in self.known(AgentInstance) if it.metadata.uid not in self.reserved]
        open_ = [it for it in self.known(AgentClaim) if it.metadata.uid not in self.reserved.values()]
        if free and open_:
            taken, given = free[one % len(free)], open_[wish % len(open_)]
            self.reserved[taken.metadata.uid] = given.metadata.uid
            self.view.reserve(ref_of(taken), ref_of(given))

    @precondition(lambda self: self.reserved)
    @rule(which=INDEX)
    def a_binding_ends(self, which: int) -> None:
        uid = sorted(self.reserved)[which % len(self.reserved)]
        self.view.release(Ref("default", "any", uid), Ref("default", "any", self.reserved.pop(uid)))

    @rule(pool=st.sampled_from(POOLS), name=st.sampled_from(["x", "y"]))
    def a_create_begins(self, pool: tuple[str, str], name: str) -> None:
        self.creating.add((pool, name))
        self.view.begin_create(pool, name, "new-hash")

    @rule(pool=st.sampled_from(POOLS), name=st.sampled_from(["x", "y"]))
    def a_create_ends(self, pool: tuple[str, str], name: str) -> None:
        self.creating.discard((pool, name))
        self.view.end_create(pool, name)

    @precondition(lambda self: self.known(AgentInstance))
    @rule(which=INDEX)
    def a_deletion_begins(self, which: int) -> None:
        thing = self.known(AgentInstance)[which % len(self.known(AgentInstance))]
        assert self.view.begin_delete(ref_of(thing)) is (thing.metadata.uid not in self.deleting)
        self.deleting.add(thing.metadata.uid)

    @precondition(lambda self: self.deleting)
    @rule(which=INDEX)
    def a_deletion_ends(self, which: int) -> None:
        uid = sorted(self.deleting)[which % len(self.deleting)]
        self.deleting.discard(uid)
        self.view.end_delete(Ref("default", "any", uid))

    @precondition(lambda self: self.known(AgentInstance))
    @rule(which=INDEX, suspected=st.booleans())
    def a_check_comes_back(self, which: int, suspected: bool) -> None:
        thing = self.known(AgentInstance)[which % len(self.known(AgentInstance))]
        (self.suspects.add if suspected else self.suspects.discard)(thing.metadata.uid)
        self.view.suspect(ref_of(thing), suspected)

    @precondition(lambda self: self.known(AgentClaim))
    @rule(which=INDEX)
    def a_claim_is_rejected(self, which: int) -> None:
        thing = self.known(AgentClaim)[which % len(self.known(AgentClaim))]
        self.rejected.add(thing.metadata.uid)
        self.view.reject(ref_of(thing))

    # What must hold.

    @invariant()
    def the_objects_are_those_that_were_told(self) -> None:
        assert {it.metadata.uid: it for it in self.view.everything()} == self.told
        assert set(self.view.instance_by_uid) == {it.metadata.uid for it in self.known(AgentInstance)}

    @invariant()
    def members_and_idle_ones_are_those_that_counting_finds(self) -> None:
        for pool in POOLS:
            mine = [it for it in self.known(AgentInstance) if ("default", it.spec.pool) == pool]
            expected = {it.metadata.uid: (self.state(it), it.metadata.version) for it in mine}
            found = {it.ref.uid: (it.state, it.version) for it in self.view.members(pool) if not it.pending_create}
            assert found == expected
            pending = {it.ref.name for it in self.view.members(pool) if it.pending_create}
            assert pending == {name for of, name in self.creating if of == pool}
            idle = {uid for uid, (state, _) in expected.items() if state is MemberState.IDLE}
            assert {it.ref.uid for it in self.view.idle(pool)} == idle
            made = [it for it in self.view.members(pool) if not it.pending_create]
            assert all(it.claimed is self.is_claimed(self.told[it.ref.uid]) for it in made)

    @invariant()
    def waiting_claims_are_those_that_counting_finds(self) -> None:
        for pool in POOLS:
            mine = [it for it in self.known(AgentClaim) if ("default", it.spec.pool) == pool]
            expected = {it.metadata.uid for it in mine if self.waits(it)}
            assert {it.ref.uid for it in self.view.waiting(pool)} == expected

    @invariant()
    def holders_are_those_that_counting_finds(self) -> None:
        for thing in self.known(AgentClaim):
            holders = self.holders(thing.metadata.uid)
            assert {it.metadata.uid for it in self.view.holders(thing.metadata.uid)} == {
                it.metadata.uid for it in holders
            }
            if thing.status.phase == "Bound":
                holders = [it for it in holders if it.metadata.name == thing.status.instance]
            found = self.view.holder(thing.metadata.uid)
            assert (found is None) is (not holders)
            assert found is None or found in holders
            assert found is None or not self.is_going(found) or all(map(self.is_going, holders))
            assert self.view.is_being_bound(thing.metadata.uid) is (thing.metadata.uid in self.reserved.values())

    @invariant()
    def listeners_can_follow(self) -> None:
        """Replaying what listeners were told gives what is known: nothing was skipped, nothing told twice."""
        followed: dict[str, Resource] = {}
        for before, after in self.changes:
            if before is not None:
                assert followed.pop(before.metadata.uid) == before
            if after is not None:
                assert before is None or before.metadata.uid == after.metadata.uid
                followed[after.metadata.uid] = after
        assert followed == self.told

    def state(self, it: AgentInstance) -> MemberState:
        if self.is_going(it):
            return MemberState.TERMINATING
        if it.status.phase == "Crashed":
            return MemberState.CRASHED
        if self.is_claimed(it):
            return MemberState.CLAIMED
        if it.status.phase == "Idle":
            return MemberState.SUSPECT if it.metadata.uid in self.suspects else MemberState.IDLE
        return MemberState.STARTING

    def is_going(self, it: AgentInstance) -> bool:
        return it.metadata.deleting or it.metadata.uid in self.deleting

    def is_claimed(self, it: Any) -> bool:
        return it.spec.claim_ref is not None or it.metadata.uid in self.reserved

    def holders(self, uid: str) -> list[AgentInstance]:
        owned: Iterable[AgentInstance] = self.known(AgentInstance)
        return [it for it in owned if it.spec.claim_ref is not None and it.spec.claim_ref.uid == uid]

    def waits(self, it: AgentClaim) -> bool:
        uid, phase = it.metadata.uid, it.status.phase
        if it.metadata.deleting or uid in self.rejected or uid in self.reserved.values():
            return False
        return phase in {None, "Pending", "Binding"} and all(it.metadata.deleting for it in self.holders(uid))


def ref_of(thing: Resource) -> Ref:
    return Ref(*thing.key, thing.metadata.uid)


def reference(owner: AgentClaim) -> Any:
    bound = instance("any", claim=owner.metadata.name).spec.claim_ref
    assert bound is not None
    return bound.model_copy(update={"uid": owner.metadata.uid})


def moved(thing: AgentInstance, pool: str, bound: Any = None) -> AgentInstance:
    """The instance in another pool, and perhaps bound."""
    return thing.model_copy(update={"spec": thing.spec.model_copy(update={"pool": pool, "claim_ref": bound})})


TestEverything = Everything.TestCase
TestEverything.settings = settings(deadline=None, max_examples=40, stateful_step_count=40)
