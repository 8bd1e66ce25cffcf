"""What waits for the ledger, what a strict one holds back, and how pools say that it is behind."""

from dataclasses import replace

import pytest

from controller.core import claim as claims
from controller.core import instance as instances
from controller.core import pool as pools
from controller.core.account import AWAITED_SECONDS, BEHIND_SECONDS, Account, Books, Ending, LedgerHealth
from controller.core.claim import Assigned, ObservedClaim, ProvisionOutcome
from controller.core.instance import ObservedInstance
from controller.core.plan import Bind, Conclude, Create, Hold, LetGo, Plan, Provision, Reject, Release
from controller.core.pool import ObservedPool
from controller.model import LEDGER_FINALIZER, ClaimPhase
from tests.core.builders import NEW, NOTHING, NOW, QUEUEING, at, claim, condition, instance, members, pool, ref, waiting

BOUND = {"phase": "Bound", "instance": "one", "boundAt": NOW}
KEPT = Account(kept=True, ending=Ending.UNTOLD)
TOLD = Account(kept=True, ending=Ending.TOLD, told_at=NOW, trouble="Postgres is away: start it")
SAFE = Account(kept=True, ending=Ending.SAFE, told_at=NOW)
ONE, WISH = ref("one"), ref("wish")
HELD: claims.ClaimPlan = Plan(actions=(Hold(WISH),))


def seen_claim(
    account: Account, *, held: bool = True, deleting: bool = False, status: dict[str, object] | None = None
) -> ObservedClaim:
    finalizers = {"finalizers": (LEDGER_FINALIZER,) if held else ()}
    wish = claim(deleting=deleting, status=status, meta=finalizers)
    return ObservedClaim(wish, QUEUEING, Assigned(ONE, "http://h:1"), first_seen_at=NOW, account=account)


class TestClaims:
    @pytest.mark.parametrize("status", [{"phase": "Pending"}, BOUND, {"phase": "Failed"}])
    def test_one_that_was_told_something_is_held(self, status: dict[str, object]) -> None:
        assert claims.decide(seen_claim(KEPT, held=False, status=status), NOW).actions[0] == Hold(WISH)

    def test_it_is_held_while_its_agent_takes_up_the_conversation(self) -> None:
        plan = claims.decide(seen_claim(KEPT, held=False), NOW)
        assert ([type(it) for it in plan.actions], plan.status) == ([Hold, Provision], None)

    @pytest.mark.parametrize("kind", ["done", "refused", "unfit"])
    def test_nothing_is_told_to_it_before_it_is_held(self, kind: str) -> None:
        outcome = ProvisionOutcome(ONE.uid, kind, NOW, NOW, reason="Why", message="why", conversation_id="c")
        seen = replace(seen_claim(KEPT, held=False), outcome=outcome)
        assert claims.decide(seen, NOW) == HELD
        assert claims.decide(replace(seen_claim(KEPT), outcome=outcome), NOW).status is not None

    def test_one_that_waits_in_silence_is_not_held_yet(self) -> None:
        unbound = replace(seen_claim(KEPT, held=False), assigned=None, pool=replace(QUEUEING, has_idle=True))
        plan = claims.decide(unbound, NOW)
        assert (plan.actions, plan.status) == ((), None)
        assert claims.decide(unbound, at(1)) == HELD

    def test_where_there_is_no_ledger_nobody_holds_it(self) -> None:
        seen = seen_claim(Account(), held=False, status={"phase": "Failed"})
        assert claims.decide(seen, NOW) == NOTHING

    def test_one_that_is_held_is_not_held_again(self) -> None:
        assert claims.decide(seen_claim(KEPT, status={"phase": "Failed"}), NOW) == NOTHING

    @pytest.mark.parametrize(
        ("account", "action"), [(KEPT, Conclude(WISH)), (SAFE, LetGo(WISH)), (Account(), LetGo(WISH))]
    )
    def test_when_it_is_deleted_its_end_is_handed_over_and_it_goes_once_that_is_safe(
        self, account: Account, action: object
    ) -> None:
        assert claims.decide(seen_claim(account, deleting=True, status=BOUND), NOW).actions == (action,)

    def test_one_that_waits_for_the_ledger_says_so_after_a_while_and_why(self) -> None:
        seen = seen_claim(TOLD, deleting=True, status=BOUND)
        early = claims.decide(seen, at(0.5))
        assert (early.actions, early.status, early.look_again_in) == ((), None, AWAITED_SECONDS)
        status = claims.decide(seen, at(AWAITED_SECONDS)).status
        assert status is not None
        assert (status.phase, condition(status).reason) == (ClaimPhase.BOUND, "AwaitingLedger")
        assert condition(status).message.endswith("is waited for: Postgres is away: start it")

    def test_one_that_nobody_holds_is_left_to_go(self) -> None:
        assert claims.decide(seen_claim(KEPT, held=False, deleting=True, status=BOUND), NOW) == NOTHING


class TestStrictness:
    UNRECORDED = Account(kept=True, ending=Ending.UNTOLD, unrecorded="waiting until the ledger has it on record")

    def test_an_instance_is_asked_for_nothing_before_that_is_on_record(self) -> None:
        assert claims.decide(seen_claim(self.UNRECORDED), NOW).actions == ()

    def test_a_claim_that_waits_for_that_says_so(self) -> None:
        status = claims.decide(seen_claim(self.UNRECORDED), at(1)).status
        assert status is not None
        assert (status.phase, condition(status).reason) == (ClaimPhase.BINDING, "AwaitingLedger")

    def test_one_that_has_no_instance_says_what_it_waits_for(self) -> None:
        barred = replace(QUEUEING, barrier="the ledger is strict and away")
        status = claims.decide(ObservedClaim(claim(), barred, None, first_seen_at=NOW), at(1)).status
        assert status is not None
        assert (condition(status).reason, status.message) == ("AwaitingLedger", "the ledger is strict and away")

    def test_behind_a_barrier_nobody_is_bound_and_nothing_more_is_launched_for_those_that_could_be(self) -> None:
        seen = ObservedPool(("default", "helpers"), pool(minIdle=2, maxTotal=9), NEW, members(2), (waiting("a"),))
        assert [type(it) for it in pools.decide(seen, NOW).actions] == [Bind, Create]
        plan = pools.decide(replace(seen, barrier="it is away"), NOW)
        assert plan.actions == ()
        assert plan.status is not None
        assert plan.status.waiting_claims == 1

    def test_behind_a_barrier_a_pool_that_lets_nobody_wait_says_why(self) -> None:
        failing = pool(minIdle=2, maxTotal=9, claims={"whenEmpty": "Fail"})
        seen = ObservedPool(
            ("default", "helpers"), failing, NEW, members(2), (waiting("a"),), barrier="the ledger is away"
        )
        (reject,) = pools.decide(seen, NOW).actions
        assert isinstance(reject, Reject)
        assert (reject.reason, reject.message.endswith("and the ledger is away")) == ("LedgerUnavailable", True)


class TestInstances:
    @pytest.mark.parametrize(
        ("account", "action"), [(KEPT, Conclude(ONE)), (SAFE, Release(ONE)), (Account(), Release(ONE))]
    )
    def test_once_nothing_of_it_is_left_its_end_is_handed_over_and_it_goes_once_that_is_safe(
        self, account: Account, action: object
    ) -> None:
        seen = ObservedInstance(instance(deleting=True), remote_gone=True, account=account)
        assert instances.decide(seen, NOW).actions == (action,)

    def test_one_that_waits_for_the_ledger_says_so_after_a_while(self) -> None:
        seen = ObservedInstance(instance(deleting=True), remote_gone=True, account=TOLD)
        early = instances.decide(seen, at(0.5))
        assert (early.actions, early.status, early.look_again_in) == ((), None, AWAITED_SECONDS - 0.5)
        status = instances.decide(seen, at(3)).status
        assert status is not None
        assert condition(status).reason == "AwaitingLedger"


class TestCondition:
    @pytest.mark.parametrize(
        ("books", "reason", "told"),
        [
            (Books(), "Current", ""),
            (Books(5, NOW), "Current", ""),
            (Books(1, at(-BEHIND_SECONDS)), "Behind", "1 record waits, the oldest since 2026-03-01T11:59:50Z"),
            (Books(345, at(-60), at(-5), "slow"), "Behind", "100 or more records wait, the oldest since "),
            (Books(0, None, at(-60), "it is away"), "Unavailable", "nothing waits to be recorded: it is away"),
            (Books(2, at(-60), at(-60), "away", strict=True), "Unavailable", "no claim gets an agent"),
        ],
    )
    def test_the_ledger_is_current_behind_or_unavailable(self, books: Books, reason: str, told: str) -> None:
        health = books.health(NOW)
        assert (health.current, health.reason) == (reason == "Current", reason)
        assert told in health.message

    def test_more_of_the_same_is_told_in_the_same_words(self) -> None:
        earlier, later = Books(120, at(-60), at(-60), "away"), Books(980, at(-60), at(-60), "away")
        assert earlier.health(NOW) == later.health(at(300))

    def test_a_pool_says_so_only_where_there_is_a_ledger(self) -> None:
        behind = LedgerHealth(False, "Behind", "it is behind")
        seen = ObservedPool(("default", "helpers"), pool(), NEW)
        without, status = pools.decide(seen, NOW).status, pools.decide(replace(seen, ledger=behind), NOW).status
        assert without is not None
        assert status is not None
        assert "LedgerCurrent" not in {each.type for each in without.conditions}
        told = next(each for each in status.conditions if each.type == "LedgerCurrent")
        assert (told.status, told.reason, told.message) == ("False", "Behind", "it is behind")
