"""What happens to one claim: it waits, is bound, stays bound, and ends."""

from dataclasses import replace
from typing import Any

import pytest

from controller.core.claim import (
    ACCEPTANCE_SECONDS,
    MAX_ATTEMPTS,
    Assigned,
    ClaimPlan,
    ObservedClaim,
    PoolView,
    ProvisionOutcome,
    Rejection,
    decide,
)
from controller.core.plan import AskAcceptance, AskRivals, Delete, Provision, Ref
from controller.model import AgentClaim, ClaimPhase, ClaimStatus, Network
from tests.core.builders import NOTHING, NOW, QUEUEING, at, claim, condition, ref, with_status

WISH, ONE = ref("wish"), ref("one")
URL = "http://127.0.0.1:9000"
MINE = Assigned(ONE, URL)
TWO = Ref("default", "two", "uid-two")
OTHER = Assigned(TWO, URL)
BOUND = {"phase": "Bound", "instance": "one", "conversationId": "c-1", "inviteUrl": "https://x/i", "boundAt": NOW}
PENDING_ACCEPTANCE = {"phase": "PendingAcceptance", "instance": "one", "joined": True}
DONE = ProvisionOutcome("uid-one", "done", NOW, NOW, conversation_id="c-1", invite_url="https://x/i", joined=False)


def observed(
    wish: AgentClaim | None = None, pool: PoolView | None = QUEUEING, assigned: Assigned | None = None, **more: Any
) -> ObservedClaim:
    return ObservedClaim(wish or claim(), pool, assigned, **({"first_seen_at": NOW} | more))


def outcome(kind: str, *, tries: int = 1, began: float = 0, when: float = 0, of: str = "one") -> ProvisionOutcome:
    """What became of a try to provision."""
    return ProvisionOutcome(f"uid-{of}", kind, at(began), at(when), tries, f"{kind}Reason", f"it said {kind}")


def status_of(plan: ClaimPlan) -> ClaimStatus:
    assert plan.status is not None
    return plan.status


def reason_of(plan: ClaimPlan) -> str:
    return condition(status_of(plan)).reason


class TestWaiting:
    def test_a_claim_that_is_about_to_be_served_is_told_nothing_at_first(self) -> None:
        plan = decide(observed(pool=replace(QUEUEING, has_idle=True)), at(0.4))
        assert (plan.actions, plan.status) == ((), None)
        assert plan.look_again_in == pytest.approx(0.6)

    def test_one_that_is_still_not_served_after_a_second_is_told_that_it_waits(self) -> None:
        assert reason_of(decide(observed(pool=replace(QUEUEING, has_idle=True)), at(1))) == "Queued"

    def test_a_claim_that_finds_nothing_idle_is_told_at_once_that_it_waits_and_at_which_place(self) -> None:
        plan = decide(observed(queue_position=3), NOW)
        status = status_of(plan)
        assert (status.phase, status.queue_position) == (ClaimPhase.PENDING, 3)
        assert status.message == QUEUEING.why_empty
        assert condition(status).status == "False"

    def test_a_place_that_changes_soon_after_it_was_written_is_not_written_again_yet(self) -> None:
        waiting = claim(status={"phase": "Pending", "queuePosition": 9})
        plan = decide(observed(waiting, queue_position=4, status_written_at=NOW), at(2))
        assert (status_of(plan).queue_position, plan.look_again_in) == (9, 3)
        assert status_of(decide(observed(waiting, queue_position=4, status_written_at=NOW), at(5))).queue_position == 4

    def test_a_claim_on_a_pool_that_does_not_exist_waits_for_it(self) -> None:
        plan = decide(observed(pool=None), NOW)
        status = status_of(plan)
        assert (status.phase, condition(status).reason) == (ClaimPhase.PENDING, "PoolNotFound")
        assert status.message == "there is no AgentPool helpers in this namespace: create it, or delete the claim"
        assert plan.look_again_in is None

    def test_while_its_binding_is_being_written_nothing_is_said_but_it_is_looked_at_again(self) -> None:
        plan = decide(observed(being_bound=True), at(10))
        assert (plan.actions, plan.status) == ((), None)
        assert plan.look_again_in is not None

    def test_a_rejected_claim_fails_in_the_pools_words(self) -> None:
        plan = decide(observed(rejection=Rejection("NoIdleInstance", "there is nothing for you")), NOW)
        assert (status_of(plan).phase, status_of(plan).message) == (ClaimPhase.FAILED, "there is nothing for you")
        assert [(note.type, note.reason) for note in plan.notes] == [("Warning", "NoIdleInstance")]

    @pytest.mark.parametrize(
        ("spec", "pool", "deadline"),
        [
            ({"bindTimeoutSeconds": 20}, QUEUEING, 20),
            ({}, replace(QUEUEING, bind_timeout_seconds=40), 40),
            ({"bindTimeoutSeconds": 20}, replace(QUEUEING, bind_timeout_seconds=10), 20),
            ({"bindTimeoutSeconds": 20}, None, 20),
        ],
        ids=["its own", "the pool's", "its own before the pool's", "its own without a pool"],
    )
    def test_a_claim_that_is_not_bound_in_time_fails(
        self, spec: dict[str, Any], pool: PoolView | None, deadline: int
    ) -> None:
        early = decide(observed(claim(**spec), pool), at(deadline - 3))
        assert (status_of(early).phase, early.look_again_in) == (ClaimPhase.PENDING, 3)
        late = decide(observed(claim(**spec), pool), at(deadline))
        assert (status_of(late).phase, reason_of(late)) == (ClaimPhase.FAILED, "BindTimeout")

    def test_the_timeout_says_what_the_claim_waited_for(self) -> None:
        waiting = claim(status={"phase": "Pending", "message": "pool helpers is paused"}, bindTimeoutSeconds=5)
        message = status_of(decide(observed(waiting), at(5))).message or ""
        assert message.startswith("it was not bound in time (pool helpers is paused)")


class TestNetwork:
    DEV_LINK = "https://dev.convos.org/v2?i=abc"
    PRODUCTION = replace(QUEUEING, lives_in=Network.PRODUCTION)

    @pytest.mark.parametrize(
        "facts",
        [{}, {"queue_position": 3}, {"rejection": Rejection("NoIdleInstance", "there is nothing for you")}],
        ids=["at once", "from the queue", "before any other word"],
    )
    def test_a_claim_with_a_link_of_another_network_fails_and_says_what_to_do(self, facts: dict[str, Any]) -> None:
        plan = decide(observed(claim(joinUrl=self.DEV_LINK), self.PRODUCTION, **facts), NOW)
        status = status_of(plan)
        assert (status.phase, status.instance, plan.actions) == (ClaimPhase.FAILED, None, ())
        assert (condition(status).status, condition(status).reason) == ("False", "WrongNetwork")
        assert (status.message or "").startswith("its joinUrl belongs to the dev network (dev.convos.org), but ")
        assert [(note.type, note.reason) for note in plan.notes] == [("Warning", "WrongNetwork")]

    def test_it_fails_even_where_something_is_idle(self) -> None:
        waiting = observed(claim(joinUrl=self.DEV_LINK), replace(self.PRODUCTION, has_idle=True))
        assert reason_of(decide(waiting, at(0.1))) == "WrongNetwork"

    @pytest.mark.parametrize(
        ("link", "lives_in"),
        [(DEV_LINK, Network.DEV), (DEV_LINK, None), ("https://example.com/v2?i=abc", Network.DEV), (None, Network.DEV)],
        ids=["its own network", "a pool that does not say", "another host", "no link"],
    )
    def test_every_other_claim_waits_for_its_turn(self, link: str | None, lives_in: Network | None) -> None:
        plan = decide(observed(claim(joinUrl=link), replace(QUEUEING, lives_in=lives_in)), NOW)
        assert status_of(plan).phase is ClaimPhase.PENDING

    def test_one_that_has_its_instance_already_is_left_to_it(self) -> None:
        plan = decide(observed(claim(joinUrl=self.DEV_LINK), self.PRODUCTION, MINE), NOW)
        assert plan.actions == (Provision(WISH, ONE, URL),)

    def test_while_its_binding_is_written_it_is_not_given_up(self) -> None:
        plan = decide(observed(claim(joinUrl=self.DEV_LINK), self.PRODUCTION, being_bound=True), NOW)
        assert (plan.actions, plan.status) == ((), None)


class TestProvisioning:
    def test_a_claim_that_has_an_instance_provisions_it_at_once(self) -> None:
        plan = decide(observed(assigned=MINE), NOW)
        assert (plan.actions, plan.status) == ((Provision(WISH, ONE, URL),), None)

    def test_a_provisioned_claim_is_bound_with_its_conversation(self) -> None:
        plan = decide(observed(assigned=MINE, outcome=DONE), at(2))
        status = status_of(plan)
        assert (status.phase, status.instance, status.bound_at) == (ClaimPhase.BOUND, "one", at(2))
        assert (status.conversation_id, status.invite_url, status.joined) == ("c-1", "https://x/i", False)
        assert (condition(status).status, status.queue_position, status.message) == ("True", None, None)
        assert [(note.type, note.reason) for note in plan.notes] == [("Normal", "Bound")]

    def test_what_the_runtime_answered_counts_even_if_the_instance_crashed_since(self) -> None:
        dead = Assigned(ONE, URL, crashed="it ran out of memory")
        assert status_of(decide(observed(assigned=dead, outcome=DONE), NOW)).phase is ClaimPhase.BOUND

    def test_a_try_that_fails_for_now_is_repeated_after_its_backoff(self) -> None:
        seen = observed(assigned=MINE, outcome=outcome("transient", tries=3, when=5))
        early = decide(seen, at(5.5))
        assert (early.actions, early.look_again_in) == ((), 0.5)
        assert (status_of(early).phase, status_of(early).instance) == (ClaimPhase.BINDING, "one")
        assert "it said transient" in (status_of(early).message or "")
        assert decide(seen, at(6)).actions == (Provision(WISH, ONE, URL),)

    def test_all_tries_together_have_one_deadline_then_the_instance_is_retired(self) -> None:
        seen = observed(assigned=MINE, outcome=outcome("transient", tries=6, when=29))
        assert decide(seen, at(29.5)).actions == ()
        plan = decide(seen, at(30))
        assert [type(action) for action in plan.actions] == [Delete]
        assert reason_of(plan) == "ProvisionTimeout"
        assert "did not take up the conversation within 30 s: it said transient" in (status_of(plan).message or "")

    def test_that_deadline_is_not_slept_through(self) -> None:
        seen = observed(assigned=MINE, outcome=outcome("transient", tries=7, when=29))
        assert decide(seen, at(29)).look_again_in == 1

    def test_one_that_takes_its_time_is_asked_every_few_seconds_until_its_time_is_over(self) -> None:
        seen = observed(assigned=MINE, outcome=outcome("transient", tries=9, when=20))
        assert decide(seen, at(21.9)).actions == ()
        assert decide(seen, at(22)).actions == (Provision(WISH, ONE, URL),)

    def test_instructions_that_cannot_be_read_are_looked_for_less_and_less_often(self) -> None:
        seen = observed(assigned=MINE, outcome=outcome("unprepared", tries=7, when=20))
        assert decide(seen, at(35.9)).actions == ()
        assert decide(seen, at(36)).actions == (Provision(WISH, ONE, URL),)

    def test_an_outcome_with_another_instance_does_not_count(self) -> None:
        seen = observed(assigned=MINE, outcome=outcome("unfit", of="another"))
        assert decide(seen, NOW).actions == (Provision(WISH, ONE, URL),)

    def test_instructions_that_cannot_be_read_are_waited_for_without_a_deadline(self) -> None:
        seen = observed(assigned=MINE, outcome=outcome("unprepared", tries=4, when=999))
        plan = decide(seen, at(1000))
        assert (plan.actions, plan.look_again_in, reason_of(plan)) == ((), 1, "unpreparedReason")
        assert decide(seen, at(1001)).actions == (Provision(WISH, ONE, URL),)

    def test_the_bind_timeout_is_not_slept_through_while_instructions_are_missing(self) -> None:
        seen = observed(claim(bindTimeoutSeconds=22), assigned=MINE, outcome=outcome("unprepared", tries=7, when=20))
        assert decide(seen, at(20)).look_again_in == 2

    def test_an_instance_that_takes_no_order_of_ours_is_retired_and_the_claim_is_bound_anew_visibly(self) -> None:
        plan = decide(observed(assigned=MINE, outcome=outcome("unfit")), NOW)
        assert plan.actions == (Delete(ONE, "unfitReason", "it said unfit"),)
        status = status_of(plan)
        assert (status.phase, status.attempts) == (ClaimPhase.PENDING, 1)
        assert status.message == "instance one is destroyed and another one is taken: it said unfit"
        assert [(note.type, note.reason) for note in plan.notes] == [("Warning", "Rebinding")]

    @pytest.mark.parametrize("known", [outcome("unfit"), DONE, None], ids=["unfit", "provisioned once", "nothing"])
    def test_an_instance_whose_deletion_failed_after_it_was_retired_is_deleted_and_nothing_else(
        self, known: ProvisionOutcome | None
    ) -> None:
        first = status_of(decide(observed(assigned=MINE, outcome=outcome("unfit")), NOW))
        again = decide(observed(with_status(claim(), first), assigned=MINE, outcome=known), at(5))
        (action,) = again.actions
        assert isinstance(action, Delete)
        assert action.instance == ONE
        assert (again.status, first.attempts) == (None, 1)

    def test_a_crashed_instance_is_retired(self) -> None:
        plan = decide(observed(assigned=Assigned(ONE, URL, crashed="killed by signal 9")), NOW)
        assert plan.actions == (Delete(ONE, "InstanceCrashed", "killed by signal 9"),)

    def test_an_instance_without_an_address_is_retired(self) -> None:
        plan = decide(observed(assigned=Assigned(ONE, None)), NOW)
        assert [type(action) for action in plan.actions] == [Delete]
        assert reason_of(plan) == "InstanceUnreachable"

    def test_an_order_that_no_instance_would_take_fails_the_claim(self) -> None:
        plan = decide(observed(assigned=MINE, outcome=outcome("refused")), NOW)
        assert plan.actions == ()
        assert (status_of(plan).phase, reason_of(plan)) == (ClaimPhase.FAILED, "refusedReason")

    def test_a_claim_that_has_used_up_its_instances_fails(self) -> None:
        tired = claim(status={"phase": "Pending", "attempts": MAX_ATTEMPTS - 1})
        plan = decide(observed(tired, assigned=MINE, outcome=outcome("unfit")), NOW)
        status = status_of(plan)
        assert (plan.actions, status.phase, status.attempts) == ((), ClaimPhase.FAILED, MAX_ATTEMPTS)
        assert status.message == (
            "3 instances in a row could not take up the conversation; the last one: it said unfit"
        )

    def test_once_its_retired_instance_is_going_the_claim_waits_again(self) -> None:
        retired = claim(status={"phase": "Pending", "attempts": 1, "instance": "one"})
        going = Assigned(ONE, URL, deleting=True)
        plan = decide(observed(retired, assigned=going, outcome=outcome("unfit")), NOW)
        status = status_of(plan)
        assert (plan.actions, status.phase, status.attempts) == ((), ClaimPhase.PENDING, 1)
        assert status.instance is None

    def test_a_claim_that_was_not_provisioned_in_time_fails(self) -> None:
        seen = observed(claim(bindTimeoutSeconds=5), assigned=MINE, outcome=outcome("transient", when=4))
        assert reason_of(decide(seen, at(5))) == "BindTimeout"

    def test_an_answer_that_came_just_in_time_is_not_thrown_away(self) -> None:
        seen = observed(claim(bindTimeoutSeconds=5), assigned=MINE, outcome=DONE)
        assert status_of(decide(seen, at(9))).phase is ClaimPhase.BOUND


class TestRivals:
    """Two instances name the claim, since a binding arrived late, and whoever asked one of them is gone."""

    def test_they_are_asked_first_which_of_them_has_the_conversation(self) -> None:
        seen = observed(assigned=MINE, rivals=(MINE, OTHER))
        assert decide(seen, NOW).actions == (AskRivals(WISH, ((ONE, URL), (TWO, URL))),)

    def test_they_are_asked_again_now_and_then_until_all_have_answered(self) -> None:
        seen = observed(assigned=MINE, rivals=(MINE, OTHER), asked_at=NOW)
        assert (decide(seen, at(0.5)).actions, decide(seen, at(0.5)).look_again_in) == ((), 1.5)
        assert decide(seen, at(2)).actions != ()

    def test_they_are_not_waited_for_beyond_the_time_in_which_a_claim_is_to_be_bound(self) -> None:
        pool = replace(QUEUEING, bind_timeout_seconds=5)
        assert reason_of(decide(observed(pool=pool, assigned=None, rivals=(MINE, OTHER)), at(6))) == "BindTimeout"


class TestAcceptance:
    def test_an_agent_that_has_to_be_accepted_is_not_bound_yet(self) -> None:
        plan = decide(observed(assigned=MINE, outcome=replace(DONE, pending=True, joined=True)), NOW)
        status = status_of(plan)
        assert (status.phase, status.bound_at, condition(status).status) == (
            ClaimPhase.PENDING_ACCEPTANCE,
            None,
            "False",
        )
        assert plan.look_again_in == ACCEPTANCE_SECONDS

    def test_it_is_asked_now_and_then_whether_it_was_accepted(self) -> None:
        seen = observed(claim(status=PENDING_ACCEPTANCE), assigned=MINE)
        assert decide(seen, NOW).actions == (AskAcceptance(WISH, ONE, URL),)
        asked = replace(seen, asked_at=NOW)
        assert (decide(asked, at(0.5)).actions, decide(asked, at(0.5)).look_again_in) == ((), 1.5)
        assert decide(asked, at(2)).actions == (AskAcceptance(WISH, ONE, URL),)

    def test_once_accepted_the_claim_is_bound(self) -> None:
        seen = observed(claim(status=PENDING_ACCEPTANCE), assigned=MINE, accepted_conversation="c-7")
        plan = decide(seen, at(9))
        status = status_of(plan)
        assert (status.phase, status.conversation_id, status.joined, status.bound_at) == (
            ClaimPhase.BOUND,
            "c-7",
            True,
            at(9),
        )
        assert [note.reason for note in plan.notes] == ["Accepted"]

    def test_an_acceptance_that_never_comes_runs_into_the_bind_timeout(self) -> None:
        seen = observed(claim(status=PENDING_ACCEPTANCE, bindTimeoutSeconds=60), assigned=MINE)
        assert reason_of(decide(seen, at(60))) == "BindTimeout"

    def test_an_instance_that_crashes_meanwhile_is_retired_with_all_that_it_had_promised(self) -> None:
        promised = PENDING_ACCEPTANCE | {"inviteUrl": "https://x/i", "conversationId": "c-1"}
        plan = decide(observed(claim(status=promised), assigned=Assigned(ONE, URL, crashed="it hangs")), NOW)
        status = status_of(plan)
        assert plan.actions == (Delete(ONE, "InstanceCrashed", "it hangs"),)
        assert (status.phase, status.invite_url, status.conversation_id, status.joined) == (
            ClaimPhase.PENDING,
            None,
            None,
            None,
        )

    def test_a_claim_never_expires_before_it_is_bound(self) -> None:
        seen = observed(claim(status=PENDING_ACCEPTANCE, lifetimeSeconds=1), assigned=MINE, asked_at=at(999))
        assert decide(seen, at(1000)).status is None


class TestBound:
    def test_a_bound_claim_at_rest_stays_as_it_is(self) -> None:
        first = decide(observed(assigned=MINE, outcome=DONE), NOW)
        settled = decide(observed(with_status(claim(), first.status), assigned=MINE, outcome=DONE), at(60))
        assert (settled.actions, settled.notes) == ((), ())
        assert settled.status == first.status

    def test_it_is_not_ready_while_its_agent_is_unwell_and_ready_again_afterwards(self) -> None:
        ready = with_status(claim(), decide(observed(assigned=MINE, outcome=DONE), NOW).status)
        unwell = decide(observed(ready, assigned=Assigned(ONE, URL, crashed="it hangs")), at(10))
        status = status_of(unwell)
        assert (unwell.actions, status.phase, condition(status).status) == ((), ClaimPhase.BOUND, "False")
        assert (status.conversation_id, condition(status).last_transition_time) == ("c-1", at(10))
        assert [(note.type, note.reason) for note in unwell.notes] == [("Warning", "InstanceCrashed")]
        well = status_of(decide(observed(with_status(ready, status), assigned=MINE), at(20)))
        assert (condition(well).status, condition(well).last_transition_time) == ("True", at(20))

    def test_an_agent_that_stays_unwell_is_announced_once(self) -> None:
        seen = observed(claim(status=BOUND), assigned=Assigned(ONE, URL, crashed="it hangs"))
        first = decide(seen, NOW)
        assert decide(replace(seen, claim=with_status(seen.claim, first.status)), at(5)).notes == ()

    @pytest.mark.parametrize("phase", ["Bound", "PendingAcceptance"])
    @pytest.mark.parametrize("assigned", [None, Assigned(ONE, URL, deleting=True)], ids=["gone", "going"])
    def test_a_claim_whose_instance_is_deleted_is_evicted_and_never_bound_anew(
        self, phase: str, assigned: Assigned | None
    ) -> None:
        seen = observed(claim(status=BOUND | {"phase": phase}), assigned=assigned, being_bound=True)
        plan = decide(seen, NOW)
        assert (plan.actions, status_of(plan).phase) == ((), ClaimPhase.EVICTED)
        assert status_of(plan).message == "its instance one was deleted; create another claim for another agent"

    @pytest.mark.parametrize(
        ("own", "default", "most", "lives"),
        [
            (None, None, None, None),
            (60, None, None, 60),
            (None, 90, None, 90),
            (60, 90, None, 60),
            (None, None, 120, 120),
            (600, 90, 120, 120),
            (60, 90, 120, 60),
        ],
        ids=[
            "for ever",
            "its own",
            "the pool's default",
            "its own before the default",
            "the maximum where nobody names one",
            "its own cut to the maximum",
            "its own below the maximum",
        ],
    )
    def test_a_bound_claim_lives_as_long_as_it_may(
        self, own: int | None, default: int | None, most: int | None, lives: int | None
    ) -> None:
        spec: dict[str, Any] = {"lifetimeSeconds": own} if own else {}
        wish = claim(status=BOUND, **spec)
        pool = replace(QUEUEING, default_lifetime_seconds=default, max_lifetime_seconds=most)
        plan = decide(observed(wish, pool, MINE), at(10))
        assert plan.look_again_in == (None if lives is None else lives - 10)
        if lives is not None:
            over = decide(observed(wish, pool, MINE), at(lives))
            assert (status_of(over).phase, reason_of(over)) == (ClaimPhase.EXPIRED, "LifetimeOver")
            assert [note.type for note in over.notes] == ["Normal"]

    def test_without_its_pool_a_claim_keeps_its_own_lifetime(self) -> None:
        seen = observed(claim(status=BOUND, lifetimeSeconds=60), None, MINE)
        assert status_of(decide(seen, at(60))).phase is ClaimPhase.EXPIRED


class TestEnded:
    @pytest.mark.parametrize("phase", ["Failed", "Evicted", "Expired"])
    def test_an_ended_claim_is_never_touched_again(self, phase: str) -> None:
        ended = claim(status={"phase": phase, "boundAt": at(-100)}, lifetimeSeconds=1)
        assert decide(observed(ended, assigned=MINE, outcome=DONE), NOW) == NOTHING

    def test_a_claim_that_is_being_deleted_is_left_alone(self) -> None:
        assert decide(observed(claim(deleting=True), assigned=MINE), NOW) == NOTHING
