"""What happens within one pool: who gets which instance, what is launched, and what goes."""

from typing import Any

import pytest

from controller.core.members import Member, MemberState
from controller.core.plan import Bind, Create, Delete, Reject
from controller.core.pool import BackendHealth, ObservedPool, Waiting, decide, serve_order
from tests.core.builders import NEW, NOTHING, NOW, OLD, at, member, members, pool, ref, seen_pool, waiting

IDLE, STARTING, SUSPECT = MemberState.IDLE, MemberState.STARTING, MemberState.SUSPECT
CLAIMED, CRASHED, TERMINATING = MemberState.CLAIMED, MemberState.CRASHED, MemberState.TERMINATING


def binds(seen: ObservedPool) -> list[tuple[str, str]]:
    """Instance and claim of every binding, in order."""
    return [(it.instance.name, it.claim.name) for it in decide(seen, NOW).actions if isinstance(it, Bind)]


def creates(seen: ObservedPool) -> int:
    return sum(isinstance(action, Create) for action in decide(seen, NOW).actions)


def deletes(seen: ObservedPool) -> list[tuple[str, str]]:
    """Name and reason of every deletion, in order."""
    return [(it.instance.name, it.reason) for it in decide(seen, NOW).actions if isinstance(it, Delete)]


class TestServing:
    @pytest.mark.parametrize(
        ("claims", "order"),
        [
            ([waiting("low", priority=1, created=-9), waiting("high", priority=2)], ["high", "low"]),
            ([waiting("late", created=-1), waiting("early", created=-2)], ["early", "late"]),
            ([waiting("second", order=8), waiting("first", order=7)], ["first", "second"]),
            ([waiting("below", priority=-1, created=-9), waiting("plain")], ["plain", "below"]),
        ],
        ids=[
            "higher priority goes first",
            "then whoever came first",
            "within a second whoever was learned of first",
            "a negative priority yields to none",
        ],
    )
    def test_claims_are_served_in_order(self, claims: list[Waiting], order: list[str]) -> None:
        assert [claim.ref.name for claim in serve_order(claims)] == order

    def test_the_longest_idle_instance_is_handed_out_first(self) -> None:
        present = (member("fresh", ready=-5), member("old", ready=-500), member("middle", ready=-50))
        assert binds(seen_pool(pool(minIdle=3), *present, claims=(waiting("a"), waiting("b")))) == [
            ("old", "a"),
            ("middle", "b"),
        ]

    def test_an_instance_of_the_current_template_goes_before_an_outdated_one_that_waited_longer(self) -> None:
        present = (member("outdated", ready=-900, template=OLD), member("current", ready=-5))
        assert binds(seen_pool(pool(), *present, claims=(waiting("a"),))) == [("current", "a")]

    def test_an_outdated_instance_is_better_than_none(self) -> None:
        assert binds(seen_pool(pool(), member("outdated", template=OLD), claims=(waiting("a"),))) == [("outdated", "a")]

    def test_one_whose_readiness_was_never_dated_is_handed_out_last(self) -> None:
        present = (member("undated", ready=None), member("dated"), member("undated-too", ready=None))
        assert binds(seen_pool(pool(minIdle=3), *present, claims=(waiting("a"), waiting("b")))) == [
            ("dated", "a"),
            ("undated", "b"),
        ]

    @pytest.mark.parametrize("state", [STARTING, SUSPECT, CLAIMED, CRASHED, TERMINATING])
    def test_only_healthy_idle_instances_are_handed_out(self, state: MemberState) -> None:
        assert binds(seen_pool(pool(), member("one", state), claims=(waiting("a"),))) == []

    def test_a_binding_is_guarded_by_the_version_it_was_decided_on_and_names_the_agent(self) -> None:
        plan = decide(seen_pool(pool(), member("one"), claims=(waiting("a"),)), NOW)
        assert plan.actions[0] == Bind(ref("one"), 7, ref("a"), "Ada")

    def test_a_paused_pool_still_hands_out_what_is_idle(self) -> None:
        assert binds(seen_pool(pool(paused=True), member("one"), claims=(waiting("a"),))) == [("one", "a")]

    def test_an_unavailable_backend_does_not_keep_idle_instances_from_being_handed_out(self) -> None:
        down = BackendHealth(False, "BackendUnavailable", "it is down")
        assert binds(seen_pool(pool(), member("one"), claims=(waiting("a"),), backend=down)) == [("one", "a")]

    def test_replacements_are_launched_in_the_same_plan(self) -> None:
        seen = seen_pool(pool(minIdle=2), *members(2), claims=(waiting("a"), waiting("b")))
        assert (len(binds(seen)), creates(seen)) == (2, 2)


class TestEmptyPools:
    def test_a_claim_that_finds_nothing_is_rejected_at_once_where_whenempty_is_fail(self) -> None:
        seen = seen_pool(
            pool(claims={"whenEmpty": "Fail"}), member("one"), claims=(waiting("served"), waiting("unlucky"))
        )
        plan = decide(seen, NOW)
        assert [action for action in plan.actions if isinstance(action, Reject)] == [
            Reject(
                ref("unlucky"),
                "NoIdleInstance",
                "pool helpers has no idle instance and its claims.whenEmpty is Fail; claim again later, raise minIdle, "
                "or set whenEmpty to Queue",
            )
        ]
        assert plan.status is not None
        assert plan.status.waiting_claims == 0

    def test_nothing_is_launched_for_rejected_claims(self) -> None:
        failing = pool(minIdle=0, claims={"whenEmpty": "Fail"})
        assert creates(seen_pool(failing, claims=(waiting("a"), waiting("b")))) == 0

    def test_a_claim_that_waits_gets_an_instance_launched_for_it_on_top_of_minidle(self) -> None:
        assert creates(seen_pool(pool(minIdle=2), claims=(waiting("a"), waiting("b")))) == 4

    def test_a_pool_without_minidle_launches_on_demand(self) -> None:
        on_demand = pool(minIdle=0)
        assert creates(seen_pool(on_demand)) == 0
        assert creates(seen_pool(on_demand, claims=(waiting("a"),))) == 1
        assert creates(seen_pool(on_demand, member("one", STARTING), claims=(waiting("a"),))) == 0

    def test_what_was_launched_for_a_claim_that_went_away_goes_too(self) -> None:
        assert deletes(seen_pool(pool(minIdle=0), member("one", STARTING))) == [("one", "ScaledDown")]


class TestSize:
    @pytest.mark.parametrize(
        ("present", "launched"),
        [
            ((), 3),
            (members(1), 2),
            (members(3), 0),
            (members(1, STARTING), 2),
            (members(1, SUSPECT), 2),
            (members(3, CLAIMED), 3),
            (members(3, TERMINATING), 3),
            (members(2, CRASHED), 3),
            ((member("one", STARTING, pending_create=True),), 2),
        ],
        ids=[
            "empty",
            "one idle",
            "all idle",
            "one is starting",
            "a suspect is still warm",
            "claimed ones are not warm",
            "nor are terminating ones",
            "nor crashed ones",
            "a create under way counts",
        ],
    )
    def test_what_is_missing_to_minidle_is_launched(self, present: tuple[Member, ...], launched: int) -> None:
        assert creates(seen_pool(pool(minIdle=3, maxTotal=20), *present)) == launched

    @pytest.mark.parametrize("state", [CLAIMED, CRASHED, TERMINATING, STARTING, SUSPECT, IDLE])
    def test_everything_that_exists_counts_against_maxtotal(self, state: MemberState) -> None:
        full = pool(minIdle=4, maxTotal=4)
        assert creates(seen_pool(full, *members(3, state))) <= 1
        assert creates(seen_pool(full, *members(4, state))) == 0

    def test_a_pool_beyond_its_maxtotal_launches_nothing(self) -> None:
        assert creates(seen_pool(pool(minIdle=1, maxTotal=1), *members(3, CLAIMED))) == 0

    def test_a_pool_that_is_too_big_lets_starting_ones_go_first_then_the_newest_idle(self) -> None:
        present = (*members(3), *members(2, STARTING))
        assert deletes(seen_pool(pool(minIdle=2), *present)) == [
            ("starting-new-hash-1", "ScaledDown"),
            ("starting-new-hash-0", "ScaledDown"),
            ("idle-new-hash-2", "ScaledDown"),
        ]

    def test_outdated_ones_go_before_current_idle_ones(self) -> None:
        present = (*members(2), *members(1, template=OLD))
        on_delete = pool(minIdle=2, rollout={"strategy": "OnDelete"})
        assert deletes(seen_pool(on_delete, *present)) == [("idle-old-hash-0", "ScaledDown")]

    def test_what_is_just_being_bound_is_not_scaled_down(self) -> None:
        plan = decide(seen_pool(pool(minIdle=0), *members(2), claims=(waiting("a"),)), NOW)
        assert [type(action) for action in plan.actions] == [Bind, Delete]
        bound, deleted = plan.actions
        assert isinstance(bound, Bind)
        assert isinstance(deleted, Delete)
        assert bound.instance != deleted.instance

    def test_an_instance_whose_create_is_under_way_is_not_deleted_yet(self) -> None:
        assert deletes(seen_pool(pool(minIdle=0), member("one", STARTING, pending_create=True, created=None))) == []

    @pytest.mark.parametrize("state", [CLAIMED, CRASHED, TERMINATING])
    def test_claimed_instances_are_never_touched(self, state: MemberState) -> None:
        held = tuple(member(f"held-{n}", state, claimed=True, template=OLD) for n in range(3))
        assert deletes(seen_pool(pool(minIdle=0, maxTotal=1), *held)) == []


class TestCrashes:
    def test_a_crashed_instance_that_nobody_holds_is_deleted_with_what_it_said(self) -> None:
        plan = decide(seen_pool(pool(minIdle=1), member("one", CRASHED, trouble="it ran out of memory")), NOW)
        assert Delete(ref("one"), "Crashed", "it ran out of memory", 7) in plan.actions
        assert any(isinstance(action, Create) for action in plan.actions)

    def test_a_claimed_one_that_crashed_is_kept_until_its_claim_is_given_back(self) -> None:
        assert deletes(seen_pool(pool(minIdle=0), member("one", CRASHED, claimed=True))) == []

    def test_at_maxtotal_the_replacement_waits_until_the_crashed_one_is_gone(self) -> None:
        full = pool(minIdle=1, maxTotal=1)
        assert (creates(seen_pool(full, member("one", CRASHED))), creates(seen_pool(full))) == (0, 1)


class TestPause:
    @pytest.mark.parametrize(
        "present",
        [
            (),
            members(9),
            members(3, CRASHED),
            members(2, template=OLD),
            members(2, STARTING, template=OLD),
        ],
        ids=["empty", "too many", "crashed", "outdated", "outdated and starting"],
    )
    def test_a_paused_pool_launches_and_deletes_nothing(self, present: tuple[Member, ...]) -> None:
        assert decide(seen_pool(pool(minIdle=2, paused=True), *present), NOW).actions == ()


class TestTrouble:
    def test_while_the_backend_is_unavailable_nothing_is_launched(self) -> None:
        down = BackendHealth(False, "BackendUnavailable", "it is down")
        assert creates(seen_pool(pool(minIdle=3), backend=down, claims=(waiting("a"),))) == 0

    @pytest.mark.parametrize("gone", [None, pool(deleting=True)], ids=["unknown", "being deleted"])
    def test_a_pool_that_is_gone_is_left_alone(self, gone: Any) -> None:
        seen = ObservedPool(key=("default", "helpers"), pool=gone, members=members(3), waiting=(waiting("a"),))
        assert decide(seen, NOW) == NOTHING


class TestRollout:
    def test_one_surge_instance_is_launched_before_any_outdated_one_goes(self) -> None:
        rolling = pool(minIdle=3)
        outdated = members(3, template=OLD)
        assert (creates(seen_pool(rolling, *outdated)), deletes(seen_pool(rolling, *outdated))) == (1, [])

    def test_while_the_surge_instance_starts_nothing_happens(self) -> None:
        present = (*members(3, template=OLD), *members(1, STARTING))
        assert decide(seen_pool(pool(minIdle=3), *present), NOW).actions == ()

    def test_once_it_is_idle_the_newest_outdated_one_goes_and_the_next_is_launched(self) -> None:
        seen = seen_pool(pool(minIdle=3), *members(3, template=OLD), *members(1))
        assert (deletes(seen), creates(seen)) == ([("idle-old-hash-2", "Outdated")], 1)

    def test_a_greater_surge_launches_more_at_once(self) -> None:
        rolling = pool(minIdle=3, rollout={"maxSurge": 3})
        assert creates(seen_pool(rolling, *members(3, template=OLD))) == 3

    def test_with_maxunavailable_outdated_ones_go_at_once_even_without_room_for_a_surge(self) -> None:
        tight = pool(minIdle=3, maxTotal=3, rollout={"maxSurge": 0, "maxUnavailable": 2})
        seen = seen_pool(tight, *members(3, template=OLD))
        assert (len(deletes(seen)), creates(seen)) == (2, 0)

    def test_outdated_ones_that_are_still_starting_go_at_once(self) -> None:
        seen = seen_pool(pool(minIdle=2), *members(2, STARTING, template=OLD))
        assert (len(deletes(seen)), creates(seen)) == (2, 2)

    def test_a_rollout_that_maxtotal_blocks_says_what_to_do(self) -> None:
        seen = seen_pool(pool(minIdle=2, maxTotal=2), *members(2, template=OLD))
        plan = decide(seen, NOW)
        assert plan.actions == ()
        assert plan.status is not None
        degraded = next(it for it in plan.status.conditions if it.type == "Degraded")
        assert (degraded.status, degraded.reason) == ("True", "Exhausted")
        assert "raise maxTotal or set rollout.maxUnavailable" in degraded.message

    def test_ondelete_leaves_outdated_instances_alone_and_launches_new_ones_from_the_new_template(self) -> None:
        seen = seen_pool(pool(minIdle=3, rollout={"strategy": "OnDelete"}), *members(2, template=OLD))
        plan = decide(seen, NOW)
        assert [it.template_hash for it in plan.actions if isinstance(it, Create)] == [NEW]
        assert deletes(seen) == []

    @pytest.mark.parametrize("strategy", ["RollingUpdate", "OnDelete"])
    def test_claimed_outdated_instances_are_never_replaced(self, strategy: str) -> None:
        seen = seen_pool(
            pool(minIdle=0, rollout={"strategy": strategy}), *members(2, CLAIMED, template=OLD), member("one", CRASHED)
        )
        assert deletes(seen) == [("one", "Crashed")]

    def test_a_pool_scaled_down_during_a_rollout_keeps_the_current_instances(self) -> None:
        seen = seen_pool(pool(minIdle=1), *members(1), *members(3, template=OLD))
        assert deletes(seen) == [
            ("idle-old-hash-2", "Outdated"),
            ("idle-old-hash-1", "Outdated"),
            ("idle-old-hash-0", "Outdated"),
        ]

    @pytest.mark.parametrize("unavailable", [0, 1, 2])
    def test_a_rollout_step_leaves_minidle_less_maxunavailable_idle(self, unavailable: int) -> None:
        rolling = pool(minIdle=3, maxTotal=20, rollout={"maxUnavailable": unavailable})
        present = (*members(2), *members(2, template=OLD), *members(1, STARTING))
        gone = {name for name, _ in deletes(seen_pool(rolling, *present))}
        left = [it for it in present if it.state is IDLE and it.ref.name not in gone]
        assert len(left) == max(2, 3 - unavailable)


CHANGED = "somebody changed the variable MODEL at Railway"


class TestDrift:
    """What somebody changed at its backend is no more what a new one would be."""

    def test_a_replacement_is_launched_before_a_changed_idle_one_goes(self) -> None:
        seen = seen_pool(pool(minIdle=2), member("changed", drift=CHANGED), member("good"))
        assert (creates(seen), deletes(seen)) == (1, [])

    def test_once_it_is_idle_the_changed_one_goes_and_the_reason_is_what_was_changed(self) -> None:
        seen = seen_pool(pool(minIdle=2), member("changed", drift=CHANGED), *members(2))
        assert Delete(ref("changed"), "Drifted", CHANGED, 7) in decide(seen, NOW).actions
        assert creates(seen) == 0

    def test_many_are_replaced_step_by_step(self) -> None:
        seen = seen_pool(pool(minIdle=3), *members(3, drift=CHANGED))
        assert (creates(seen), deletes(seen)) == (1, [])

    def test_with_maxunavailable_it_goes_without_waiting_for_its_replacement(self) -> None:
        tight = pool(minIdle=2, maxTotal=2, rollout={"maxSurge": 0, "maxUnavailable": 1})
        assert deletes(seen_pool(tight, member("changed", drift=CHANGED), member("good"))) == [("changed", "Drifted")]

    def test_one_that_is_outdated_too_goes_for_that(self) -> None:
        seen = seen_pool(pool(minIdle=1), member("changed", drift=CHANGED, template=OLD), member("good"))
        assert deletes(seen) == [("changed", "Outdated")]

    def test_a_suspect_one_is_replaced_as_well(self) -> None:
        seen = seen_pool(pool(minIdle=1), member("changed", SUSPECT, drift=CHANGED), member("good"))
        assert deletes(seen) == [("changed", "Drifted")]

    def test_with_ondelete_it_is_left(self) -> None:
        seen = seen_pool(pool(minIdle=2, rollout={"strategy": "OnDelete"}), *members(2, drift=CHANGED))
        assert decide(seen, NOW).actions == ()

    @pytest.mark.parametrize("state", [CLAIMED, CRASHED, TERMINATING, STARTING])
    def test_whoever_is_not_idle_is_not_replaced_for_it(self, state: MemberState) -> None:
        held = state is not STARTING
        seen = seen_pool(pool(minIdle=1), member("changed", state, drift=CHANGED, claimed=held), member("good"))
        assert ("changed", "Drifted") not in deletes(seen)

    def test_a_paused_pool_leaves_it(self) -> None:
        assert decide(seen_pool(pool(minIdle=1, paused=True), member("x", drift=CHANGED)), NOW).actions == ()

    def test_it_is_handed_out_only_when_there_is_no_other(self) -> None:
        present = (member("changed", ready=-900, drift=CHANGED), member("good", ready=-5))
        assert binds(seen_pool(pool(minIdle=2), *present, claims=(waiting("a"),))) == [("good", "a")]
        assert binds(seen_pool(pool(), present[0], claims=(waiting("a"),))) == [("changed", "a")]


def test_what_was_decided_is_dated_by_nothing_but_the_time_that_was_passed_in() -> None:
    seen = seen_pool(pool(minIdle=2), *members(1), claims=(waiting("a"),))
    assert decide(seen, at(0)) == decide(seen, at(0))
