"""The view: what is known, never older than the controller's own last action."""

from typing import Any

import pytest

from controller.core.members import MemberState
from controller.model import AgentClaim, AgentInstance, AgentPool, Resource
from controller.reconcile import view as module
from controller.reconcile.view import View
from tests.core.builders import POOL, at, claim, instance, pool, ref

HELPERS = ("default", POOL)
IDLE = {"phase": "Idle", "readyAt": at(-60)}


def version(thing: Any, number: int, uid: str | None = None) -> Any:
    """The same object at another version, or another object of the same name."""
    update = {"resource_version": str(number)} | ({"uid": uid} if uid else {})
    return thing.model_copy(update={"metadata": thing.metadata.model_copy(update=update)})


def knowing(*things: Resource) -> View:
    view = View()
    for thing in things:
        assert view.learn(thing)
    return view


def states(view: View) -> dict[str, MemberState]:
    return {member.ref.name: member.state for member in view.members(HELPERS)}


def idle(view: View) -> set[str]:
    return {member.ref.name for member in view.idle(HELPERS)}


def waiting(view: View) -> set[str]:
    return {claim.ref.name for claim in view.waiting(HELPERS)}


class Heard:
    """What a listener was told: name, uid before and uid after."""

    def __init__(self, view: View) -> None:
        self.told: list[tuple[str | None, str | None]] = []
        view.subscribe(self.hear)

    def hear(self, before: Resource | None, after: Resource | None) -> None:
        self.told.append((before.metadata.uid if before else None, after.metadata.uid if after else None))


class TestLearning:
    @pytest.mark.parametrize("thing", [pool(), instance(), claim()], ids=["pool", "instance", "claim"])
    def test_an_older_version_or_the_same_one_teaches_nothing(self, thing: Resource) -> None:
        view = knowing(version(thing, 5))
        heard = Heard(view)
        assert not view.learn(version(thing, 4))
        assert not view.learn(version(thing, 5))
        assert (view.known(thing), heard.told) == (version(thing, 5), [])

    @pytest.mark.parametrize("thing", [pool(), instance(), claim()], ids=["pool", "instance", "claim"])
    def test_a_newer_version_replaces_the_older_one_and_is_told(self, thing: Resource) -> None:
        view = knowing(version(thing, 5))
        heard = Heard(view)
        assert view.learn(version(thing, 6))
        assert (view.known(thing), heard.told) == (version(thing, 6), [(thing.metadata.uid, thing.metadata.uid)])

    def test_a_late_event_does_not_bring_a_deleted_object_back(self) -> None:
        view = knowing(version(instance(), 5))
        assert view.forget(version(instance(), 6))
        assert not view.learn(version(instance(), 7))
        assert (view.instances, view.members(HELPERS)) == ({}, ())

    def test_a_deletion_that_comes_before_the_object_keeps_it_out(self) -> None:
        view = View()
        assert not view.forget(version(claim(), 5))
        assert not view.learn(version(claim(), 4))

    def test_forgetting_twice_is_told_once(self) -> None:
        view = knowing(instance())
        heard = Heard(view)
        assert [view.forget(instance()), view.forget(instance())] == [True, False]
        assert heard.told == [("uid-one", None)]

    def test_another_object_of_the_same_name_takes_the_place_of_the_first(self) -> None:
        view = knowing(version(claim("wish"), 5))
        heard = Heard(view)
        assert view.learn(version(claim("wish"), 9, uid="second"))
        assert (view.claim_by_uid("uid-wish"), view.claim_by_uid("second")) == (None, view.claims["default", "wish"])
        assert heard.told == [("uid-wish", None), (None, "second")]

    def test_the_late_deletion_of_the_first_leaves_the_second_alone(self) -> None:
        view = knowing(version(claim("wish"), 5), version(claim("wish"), 9, uid="second"))
        assert not view.forget(version(claim("wish"), 8))
        assert view.claim_by_uid("second") is not None

    def test_a_late_event_about_the_first_does_not_displace_the_second(self) -> None:
        view = knowing(version(claim("wish"), 9, uid="second"))
        assert not view.learn(version(claim("wish"), 5))
        assert view.claim_by_uid("second") is not None

    def test_only_so_many_tombstones_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TOMBSTONES", 2)
        view = View()
        for name in ("a", "b", "c"):
            view.forget(claim(name))
        assert [view.learn(claim(name)) for name in ("a", "b", "c")] == [True, False, False]

    def test_an_event_is_news_only_when_it_can_teach_something(self) -> None:
        view = knowing(version(claim("wish"), 5))
        assert [view.is_news("uid-wish", number, deleted=False) for number in (4, 5, 6)] == [False, False, True]
        assert view.is_news("uid-wish", 5, deleted=True)
        assert view.is_news("uid-other", 1, deleted=False)
        view.forget(claim("wish"))
        assert not view.is_news("uid-wish", 9, deleted=False)
        assert not view.is_news("uid-wish", 9, deleted=True)


class TestMembers:
    @pytest.mark.parametrize(
        ("thing", "state"),
        [
            (instance(), MemberState.STARTING),
            (instance(status={"phase": "Starting"}), MemberState.STARTING),
            (instance(status=IDLE), MemberState.IDLE),
            (instance(status=IDLE, claim="wish"), MemberState.CLAIMED),
            (instance(status=IDLE | {"phase": "Claimed"}, claim="wish"), MemberState.CLAIMED),
            (instance(status={"phase": "Crashed"}), MemberState.CRASHED),
            (instance(status={"phase": "Crashed"}, claim="wish"), MemberState.CRASHED),
            (instance(status=IDLE, deleting=True), MemberState.TERMINATING),
            (instance(status=IDLE, claim="wish", deleting=True), MemberState.TERMINATING),
        ],
        ids=[
            "new",
            "starting",
            "idle",
            "bound",
            "claimed",
            "crashed",
            "crashed and claimed",
            "deleting",
            "deleting and claimed",
        ],
    )
    def test_every_instance_counts_in_one_state(self, thing: AgentInstance, state: MemberState) -> None:
        view = knowing(thing)
        assert states(view) == {"one": state}
        assert idle(view) == ({"one"} if state is MemberState.IDLE else set())

    def test_a_create_under_way_counts_until_the_instance_itself_is_known(self) -> None:
        view = View()
        view.begin_create(HELPERS, "one", "new-hash")
        (member,) = view.members(HELPERS)
        assert (member.state, member.pending_create, member.template_hash) == (MemberState.STARTING, True, "new-hash")
        view.end_create(HELPERS, "one")
        assert view.members(HELPERS) == ()

    def test_an_instance_whose_deletion_is_under_way_is_terminating_until_that_fails(self) -> None:
        view = knowing(instance(status=IDLE))
        assert [view.begin_delete(ref("one")), view.begin_delete(ref("one"))] == [True, False]
        assert (states(view), idle(view)) == ({"one": MemberState.TERMINATING}, set())
        view.end_delete(ref("one"))
        assert (states(view), idle(view)) == ({"one": MemberState.IDLE}, {"one"})

    def test_a_suspect_is_warm_but_not_handed_out(self) -> None:
        view = knowing(instance(status=IDLE))
        view.suspect(ref("one"), True)
        assert (states(view), idle(view)) == ({"one": MemberState.SUSPECT}, set())
        view.suspect(ref("one"), False)
        assert (states(view), idle(view)) == ({"one": MemberState.IDLE}, {"one"})

    @pytest.mark.parametrize(
        ("status", "trouble"),
        [
            ({"phase": "Starting", "reason": "NotReady"}, ""),
            ({"phase": "Starting", "reason": "Building"}, ""),
            ({"phase": "Starting", "reason": "Deploying"}, ""),
            ({"phase": "Starting", "reason": "Sleeping"}, ""),
            ({"phase": "Starting", "reason": "SecretNotFound"}, "it says why"),
            ({"phase": "Crashed", "reason": "NotReady"}, "it says why"),
            ({"phase": "Crashed", "reason": "Exited"}, "it says why"),
        ],
        ids=["starting as usual", "built", "deployed", "asleep", "held up", "crashed while not ready", "exited"],
    )
    def test_its_trouble_is_what_its_ready_condition_says_unless_it_is_just_starting(
        self, status: dict[str, str], trouble: str
    ) -> None:
        ready = {"type": "Ready", "status": "False", "reason": status["reason"], "message": "it says why"}
        view = knowing(instance(status={"phase": status["phase"], "conditions": [ready]}))
        assert [member.trouble for member in view.members(HELPERS)] == [trouble]

    @pytest.mark.parametrize(
        ("holds", "drift"), [("True", "it was changed"), ("False", "")], ids=["changed", "restored"]
    )
    def test_what_somebody_changed_at_its_backend_is_known_to_its_pool(self, holds: str, drift: str) -> None:
        drifted = {"type": "Drifted", "status": holds, "reason": "Any", "message": "it was changed"}
        view = knowing(instance(status=IDLE | {"conditions": [drifted]}))
        assert [member.drift for member in view.members(HELPERS)] == [drift]


def joining(name: str = "wish", **more: Any) -> AgentClaim:
    return claim(name, joinUrl="https://dev.convos.org/v2?i=abc", **more)


class TestNetworks:
    DEV, PRODUCTION = pool(template={"network": "dev"}), pool(template={"network": "production"})

    @pytest.mark.parametrize("order", [1, -1], ids=["pool first", "claim first"])
    @pytest.mark.parametrize(
        ("of", "waits"), [(pool(), {"wish"}), (DEV, {"wish"}), (PRODUCTION, set())], ids=["none", "its own", "another"]
    )
    def test_a_claim_with_a_link_of_another_network_than_its_pools_never_waits(
        self, of: AgentPool, waits: set[str], order: int
    ) -> None:
        assert waiting(knowing(*[of, joining()][::order])) == waits

    def test_it_waits_for_a_pool_that_is_not_known_yet(self) -> None:
        assert waiting(knowing(joining())) == {"wish"}

    def test_who_waits_is_sorted_out_anew_when_the_pool_moves_to_another_network(self) -> None:
        view = knowing(self.DEV, joining(), claim("other"))
        view.positions.update({"uid-wish": 1, "uid-other": 2})
        view.learn(version(self.PRODUCTION, 2))
        assert (waiting(view), view.positions) == ({"other"}, {"uid-other": 2})
        view.learn(version(self.DEV, 3))
        assert waiting(view) == {"wish", "other"}

    def test_a_listener_that_hears_of_the_move_still_finds_those_who_wait_no_more(self) -> None:
        view = knowing(self.DEV, joining())
        found: list[set[str]] = []
        view.subscribe(lambda *_: found.append(waiting(view)))
        view.learn(version(self.PRODUCTION, 2))
        assert (found, waiting(view)) == ([{"wish"}], set())

    def test_an_idle_instance_of_another_network_than_its_pools_is_not_handed_out(self) -> None:
        own = instance(status=IDLE)
        own = own.model_copy(update={"spec": own.spec.model_copy(update={"template": self.DEV.spec.template})})
        view = knowing(self.DEV, own, instance("unsaid", status=IDLE))
        assert idle(view) == {"one", "unsaid"}
        view.learn(version(self.PRODUCTION, 2))
        assert (idle(view), states(view)["one"]) == ({"unsaid"}, MemberState.SUSPECT)
        view.learn(version(self.DEV, 3))
        assert idle(view) == {"one", "unsaid"}

    def test_the_pools_of_other_namespaces_and_names_do_not_count(self) -> None:
        elsewhere = self.PRODUCTION.model_copy(
            update={"metadata": self.PRODUCTION.metadata.model_copy(update={"namespace": "other", "uid": "u"})}
        )
        assert waiting(knowing(elsewhere, joining())) == {"wish"}


class TestBinding:
    def test_a_reservation_takes_the_instance_and_the_claim_at_once(self) -> None:
        view = knowing(instance(status=IDLE), claim("wish"))
        assert (idle(view), waiting(view)) == ({"one"}, {"wish"})
        view.reserve(ref("one"), ref("wish"))
        assert (states(view), idle(view), waiting(view)) == ({"one": MemberState.CLAIMED}, set(), set())
        assert view.is_being_bound("uid-wish")

    def test_a_binding_that_was_not_written_gives_both_back(self) -> None:
        view = knowing(instance(status=IDLE), claim("wish"))
        view.reserve(ref("one"), ref("wish"))
        view.release(ref("one"), ref("wish"))
        assert (idle(view), waiting(view), view.is_being_bound("uid-wish")) == ({"one"}, {"wish"}, False)

    def test_a_binding_that_was_written_keeps_both(self) -> None:
        view = knowing(instance(status=IDLE), claim("wish"))
        view.reserve(ref("one"), ref("wish"))
        view.learn(version(instance(status=IDLE, claim="wish"), 2))
        view.release(ref("one"), ref("wish"))
        assert (states(view), idle(view), waiting(view)) == ({"one": MemberState.CLAIMED}, set(), set())
        assert view.holder("uid-wish") == view.instances["default", "one"]

    def test_a_claim_that_is_learned_after_its_binding_does_not_wait(self) -> None:
        assert waiting(knowing(instance(status=IDLE, claim="wish"), claim("wish"))) == set()

    def test_a_claim_waits_again_once_the_deletion_of_its_instance_is_granted(self) -> None:
        view = knowing(instance(status=IDLE, claim="wish"), claim("wish"))
        view.begin_delete(ref("one"))
        assert waiting(view) == set()
        view.learn(version(instance(status=IDLE, claim="wish", deleting=True), 2))
        assert waiting(view) == {"wish"}

    def test_of_two_instances_of_a_claim_the_one_that_stays_is_its_holder(self) -> None:
        view = knowing(instance("a", claim="wish", deleting=True), instance("b", claim="wish"), claim("wish"))
        holder = view.holder("uid-wish")
        assert holder is not None
        assert holder.metadata.name == "b"
        view.forget(instance("b", claim="wish"))
        last = view.holder("uid-wish")
        assert last is not None
        assert last.metadata.name == "a"

    @pytest.mark.parametrize("phase", ["Bound", "PendingAcceptance"])
    def test_the_holder_of_a_claim_that_was_served_is_the_one_that_its_owner_was_told_of(self, phase: str) -> None:
        view = knowing(instance("a", claim="wish"), instance("b", claim="wish", deleting=True))
        view.learn(claim("wish", status={"phase": phase, "instance": "b"}))
        assert view.holder("uid-wish") == view.instances["default", "b"]
        assert {it.metadata.name for it in view.holders("uid-wish")} == {"a", "b"}
        view.forget(instance("b", claim="wish"))
        assert view.holder("uid-wish") is None

    @pytest.mark.parametrize(("granted", "asked"), [("a", "b"), ("b", "a")])
    def test_a_claim_with_two_instances_waits_only_once_the_deletion_of_both_is_granted(
        self, granted: str, asked: str
    ) -> None:
        view = knowing(instance(granted, claim="wish", deleting=True), instance(asked, claim="wish"), claim("wish"))
        view.begin_delete(ref(asked))
        assert waiting(view) == set()
        view.learn(version(instance(asked, claim="wish", deleting=True), 2))
        assert waiting(view) == {"wish"}

    def test_a_later_claim_of_the_same_name_does_not_own_the_instance_of_the_first(self) -> None:
        view = knowing(instance(status=IDLE, claim="wish"), claim("wish"))
        view.learn(version(claim("wish"), 9, uid="second"))
        assert (view.holder("second"), waiting(view)) == (None, {"wish"})

    @pytest.mark.parametrize("phase", ["Bound", "PendingAcceptance", "Failed", "Evicted", "Expired"])
    def test_a_claim_that_was_served_or_ended_never_waits(self, phase: str) -> None:
        assert waiting(knowing(claim("wish", status={"phase": phase}))) == set()

    @pytest.mark.parametrize("phase", [None, "Pending", "Binding"])
    def test_a_claim_without_an_instance_waits(self, phase: str | None) -> None:
        assert waiting(knowing(claim("wish", status={"phase": phase}))) == {"wish"}

    def test_a_claim_that_is_being_deleted_does_not_wait(self) -> None:
        assert waiting(knowing(claim("wish", deleting=True))) == set()

    def test_a_rejected_claim_does_not_wait(self) -> None:
        view = knowing(claim("wish"))
        view.reject(ref("wish"))
        assert waiting(view) == set()

    def test_a_claim_that_stops_waiting_has_no_place_in_the_queue(self) -> None:
        view = knowing(claim("wish"), claim("other"))
        view.positions.update({"uid-wish": 1, "uid-other": 2})
        view.learn(version(claim("wish", status={"phase": "Failed"}), 2))
        view.forget(claim("other"))
        assert view.positions == {}

    def test_claims_wait_in_the_order_in_which_they_were_learned_of(self) -> None:
        view = knowing(claim("b"), claim("a"), claim("c"))
        assert [it.ref.name for it in sorted(view.waiting(HELPERS), key=lambda it: it.order)] == ["b", "a", "c"]


def test_questions_about_what_is_not_known_have_empty_answers() -> None:
    view = View()
    assert (view.members(HELPERS), tuple(view.idle(HELPERS)), view.waiting(HELPERS)) == ((), (), ())
    assert (view.holder("x"), view.claim_by_uid("x"), view.is_being_bound("x")) == (None, None, False)


def test_everything_is_all_objects_of_all_kinds() -> None:
    kinds = {type(thing) for thing in knowing(pool(), instance(), claim()).everything()}
    assert kinds == {AgentPool, AgentInstance, AgentClaim}
