"""What happens to one instance, from its launch until nothing of it is left."""

from typing import Any

import pytest

from controller.core.instance import (
    LOOK_AT_REMOTE_SECONDS,
    ClaimFact,
    LaunchTrouble,
    ObservedInstance,
    ProbeFact,
    RemoteFact,
    Timing,
    decide,
)
from controller.core.plan import Delete, Launch, Probe, Release, Terminate
from controller.model import AgentInstance, InstancePhase, InstanceStatus
from tests.core.builders import NOTHING, NOW, RUNNING, at, condition, instance, ref, with_status

ONE = ref("one")
PROBE = Probe(ONE, "http://127.0.0.1:9000")
TIMING = Timing(deadline_seconds=60, probe_seconds=0.5, check_seconds=30, failure_threshold=3)
WELL = ProbeFact(at=NOW, ready=True)
BOUND = ClaimFact(bound_at=at(-3), conversation_id="c-1", provisioned=True)
MISSING_SECRET = LaunchTrouble(NOW, 1, "SecretNotFound", "Secret keys does not exist in namespace default: create it")


def observed(thing: AgentInstance, **facts: Any) -> ObservedInstance:
    return ObservedInstance(instance=thing, **({"timing": TIMING} | facts))


def starting(**facts: Any) -> ObservedInstance:
    """An instance that was made just now, or, with ``status``, one that has said something already."""
    status = facts.pop("status", None)
    created = facts.pop("created", 0)
    return observed(instance(created=created, status=status), **facts)


def idle(*, held_by: str | None = None, **facts: Any) -> ObservedInstance:
    status = {"phase": "Idle", "readyAt": at(-100), "launchedAt": at(-110), "url": RUNNING.url, "backendId": "4711"}
    return observed(instance(claim=held_by, status=status), **({"remote": RUNNING} | facts))


def crashed(*, held_by: str | None = "wish", **facts: Any) -> ObservedInstance:
    """One that was ready once and failed its checks since."""
    failed = {"type": "Ready", "status": "False", "reason": "HealthCheckFailed", "lastTransitionTime": at(-5)}
    status = {"phase": "Crashed", "readyAt": at(-100), "url": RUNNING.url, "message": "it hangs"}
    thing = instance(claim=held_by, status=status | {"conditions": [failed]})
    return observed(thing, **({"remote": RUNNING} | facts))


def status_of(seen: ObservedInstance, seconds: float = 0) -> InstanceStatus:
    status = decide(seen, at(seconds)).status
    assert status is not None
    return status


class TestLaunch:
    def test_a_new_instance_is_launched(self) -> None:
        assert decide(starting(), NOW).actions == (Launch(ONE),)

    def test_nothing_is_launched_while_the_backends_picture_cannot_be_trusted(self) -> None:
        plan = decide(starting(remote_known=False), NOW)
        assert (plan.actions, plan.status, plan.look_again_in) == ((), None, 1.0)

    def test_an_instance_that_has_a_remote_is_not_launched_again(self) -> None:
        assert decide(starting(remote=RUNNING), NOW).actions == (PROBE,)

    def test_a_missing_secret_is_named_and_waited_for(self) -> None:
        plan = decide(starting(trouble=MISSING_SECRET), at(0.1))
        assert plan.actions == ()
        assert plan.look_again_in == pytest.approx(0.15)
        assert plan.status is not None
        assert plan.status.phase is InstancePhase.STARTING
        assert condition(plan.status).reason == "SecretNotFound"
        assert plan.status.message == MISSING_SECRET.message

    def test_after_its_backoff_the_launch_is_tried_again(self) -> None:
        assert decide(starting(trouble=MISSING_SECRET), at(0.25)).actions == (Launch(ONE),)

    def test_the_deadline_is_not_slept_through_by_a_long_backoff(self) -> None:
        trouble = LaunchTrouble(at(55), 9, "LaunchFailed", "the engine is busy")
        assert decide(starting(trouble=trouble), at(56)).look_again_in == 4

    def test_a_secret_that_is_still_missing_at_the_deadline_crashes_the_instance(self) -> None:
        plan = decide(starting(trouble=MISSING_SECRET), at(60))
        assert plan.actions == ()
        assert plan.status is not None
        assert (plan.status.phase, plan.status.message) == (InstancePhase.CRASHED, MISSING_SECRET.message)
        assert [(note.type, note.reason) for note in plan.notes] == [("Warning", "SecretNotFound")]

    def test_a_launch_that_can_never_work_crashes_the_instance_at_once(self) -> None:
        refused = LaunchTrouble(NOW, 1, "ImageNotFound", "there is no such image", final=True)
        assert status_of(starting(trouble=refused)).phase is InstancePhase.CRASHED


class TestReadiness:
    def test_a_running_remote_is_probed_at_once(self) -> None:
        assert decide(starting(remote=RUNNING), NOW).actions == (PROBE,)

    def test_probes_keep_their_interval(self) -> None:
        seen = starting(remote=RUNNING, probe=ProbeFact(NOW, ready=False, failures=1, detail="connection refused"))
        waiting = decide(seen, at(0.2))
        assert waiting.actions == ()
        assert waiting.look_again_in == pytest.approx(0.3)
        assert decide(seen, at(0.5)).actions == (PROBE,)

    def test_a_remote_without_an_address_is_waited_for(self) -> None:
        plan = decide(starting(remote=RemoteFact("4711", None)), NOW)
        assert (plan.actions, plan.look_again_in) == ((), 0.5)

    def test_what_the_first_probes_say_is_not_written_and_what_later_ones_say_is(self) -> None:
        def told(seconds: float) -> str | None:
            probe = ProbeFact(at(seconds), ready=False, failures=1, detail="connection refused")
            return status_of(starting(remote=RUNNING, probe=probe), seconds).message

        assert (told(9), told(11)) == ("it is starting", "connection refused")

    def test_a_good_probe_makes_it_idle_and_dates_its_readiness(self) -> None:
        plan = decide(starting(remote=RUNNING, probe=WELL), at(1))
        assert plan.actions == ()
        assert plan.status is not None
        assert (plan.status.phase, plan.status.ready_at) == (InstancePhase.IDLE, at(1))
        assert (plan.status.url, plan.status.backend_id) == (RUNNING.url, "4711")
        assert condition(plan.status).status == "True"
        assert plan.look_again_in == 30

    def test_a_remote_that_exits_before_it_is_ready_crashes_the_instance(self) -> None:
        status = status_of(starting(remote=RemoteFact("4711", None, exited="exit code 3")))
        assert (status.phase, status.message) == (
            InstancePhase.CRASHED,
            "it ended before it was ready: exit code 3",
        )

    def test_one_that_is_not_ready_at_its_deadline_crashes_and_says_what_its_probes_said(self) -> None:
        probe = ProbeFact(at(59.9), ready=False, failures=100, detail="gateway is not up")
        status = status_of(starting(remote=RUNNING, probe=probe), 60)
        assert condition(status).reason == "StartupDeadlineExceeded"
        assert status.message == "it was not ready within 60 s: gateway is not up"

    def test_the_deadline_is_looked_at_in_time(self) -> None:
        seen = starting(remote=RUNNING, probe=ProbeFact(at(59.8), ready=False, failures=1))
        assert decide(seen, at(59.9)).look_again_in == pytest.approx(0.1)

    @pytest.mark.parametrize(
        "facts",
        [
            {"remote": RUNNING, "probe": ProbeFact(at(59), ready=False, failures=99, detail="gateway is not up")},
            {"remote": RemoteFact("4711", None, exited="exit code 3")},
            {"trouble": MISSING_SECRET},
            {"trouble": LaunchTrouble(NOW, 1, "ImageNotFound", "there is no such image", final=True)},
        ],
        ids=["not ready in time", "exited", "secret missing", "refused"],
    )
    def test_what_kept_it_from_ever_being_ready_is_not_overwritten_by_what_follows(self, facts: dict[str, Any]) -> None:
        first = status_of(starting(**facts), 60)
        thing: AgentInstance = with_status(instance(created=0), first)
        assert first.phase is InstancePhase.CRASHED
        assert decide(observed(thing, **facts), at(61)).status in (None, first)


class TestHealth:
    def test_a_check_is_due_when_the_interval_is_over(self) -> None:
        seen = idle(probe=WELL)
        early = decide(seen, at(29))
        assert (early.actions, early.look_again_in) == ((), 1)
        assert decide(seen, at(30)).actions == (PROBE,)

    def test_a_suspect_is_checked_sooner(self) -> None:
        seen = idle(probe=ProbeFact(NOW, ready=False, failures=1, detail="timeout"))
        assert decide(seen, NOW).look_again_in == 2

    @pytest.mark.parametrize(
        ("failures", "phase"), [(2, InstancePhase.IDLE), (3, InstancePhase.CRASHED)], ids=["below", "at the threshold"]
    )
    def test_checks_that_fail_in_a_row_crash_it(self, failures: int, phase: InstancePhase) -> None:
        status = status_of(idle(probe=ProbeFact(NOW, ready=False, failures=failures, detail="timeout")))
        assert status.phase is phase

    def test_the_crash_says_what_the_last_check_said(self) -> None:
        plan = decide(idle(probe=ProbeFact(NOW, ready=False, failures=3, detail="timeout")), NOW)
        assert [(note.reason, note.message) for note in plan.notes] == [
            ("HealthCheckFailed", "3 checks in a row failed: timeout")
        ]

    def test_a_remote_that_exits_crashes_it_at_once(self) -> None:
        status = status_of(idle(probe=WELL, remote=RemoteFact("4711", None, exited="killed by signal 9")))
        assert (status.phase, status.message) == (InstancePhase.CRASHED, "killed by signal 9")

    def test_a_remote_that_is_gone_crashes_it_only_when_the_picture_is_complete(self) -> None:
        assert condition(status_of(idle(probe=WELL, remote=None))).reason == "RemoteGone"
        assert status_of(idle(probe=WELL, remote=None, remote_known=False)).phase is InstancePhase.IDLE

    def test_a_crash_that_goes_on_is_announced_once(self) -> None:
        assert decide(crashed(probe=ProbeFact(NOW, ready=False, failures=4, detail="timeout")), NOW).notes == ()

    def test_after_a_restart_the_first_checks_are_spread_over_the_interval(self) -> None:
        status = {"phase": "Idle", "readyAt": at(-100)}
        first = [
            decide(observed(instance(f"i-{n}", status=status), remote=RUNNING, first_seen_at=NOW), NOW).look_again_in
            for n in range(200)
        ]
        waits = [0.0 if wait is None else wait for wait in first]
        assert all(0 <= wait < 30 for wait in waits)
        assert [sum(third * 10 <= wait < third * 10 + 10 for wait in waits) > 40 for third in range(3)] == [True] * 3

    def test_after_a_restart_an_instance_is_checked_within_one_interval(self) -> None:
        assert decide(idle(first_seen_at=NOW), at(30)).actions == (PROBE,)


class TestClaimed:
    def test_an_instance_whose_claim_is_still_being_provisioned_stays_idle_in_name(self) -> None:
        assert status_of(idle(held_by="wish", claim=ClaimFact(), probe=WELL)).phase is InstancePhase.IDLE

    def test_it_is_claimed_once_its_claim_is_bound(self) -> None:
        status = status_of(idle(held_by="wish", claim=BOUND, probe=WELL))
        assert (status.phase, status.claimed_at, status.conversation_id) == (InstancePhase.CLAIMED, at(-3), "c-1")

    def test_the_date_of_the_claim_stays_what_it_was(self) -> None:
        held = instance(claim="wish", status={"phase": "Claimed", "readyAt": at(-9), "claimedAt": at(-2)})
        later = ClaimFact(bound_at=at(5), conversation_id="c-1", provisioned=True)
        assert status_of(observed(held, remote=RUNNING, probe=WELL, claim=later)).claimed_at == at(-2)

    def test_one_that_waits_for_acceptance_is_claimed_from_now_on(self) -> None:
        pending = ClaimFact(provisioned=True)
        assert status_of(idle(held_by="wish", claim=pending, probe=WELL), 4).claimed_at == at(4)

    def test_one_that_has_taken_up_a_conversation_never_shows_idle_again(self) -> None:
        held = instance(claim="wish", status={"phase": "Claimed", "readyAt": at(-9), "claimedAt": at(-2)})
        plan = decide(observed(held, remote=RUNNING, probe=WELL, claim=ClaimFact(provisioned=False)), NOW)
        assert plan.status is None or plan.status.phase is InstancePhase.CLAIMED

    def test_a_crashed_claimed_instance_whose_agent_answers_again_is_claimed_again(self) -> None:
        status = status_of(crashed(claim=BOUND, probe=WELL))
        assert (status.phase, status.message) == (InstancePhase.CLAIMED, None)
        assert condition(status).status == "True"

    def test_while_nothing_is_known_of_it_after_a_restart_a_crashed_one_stays_crashed(self) -> None:
        plan = decide(crashed(claim=BOUND, first_seen_at=NOW), NOW)
        assert plan.status is None
        assert plan.look_again_in is not None

    def test_a_probe_from_before_the_crash_does_not_bring_it_back(self) -> None:
        before = ProbeFact(at=at(-20), ready=True)
        assert decide(crashed(claim=BOUND, probe=before), NOW).status is None

    def test_a_crashed_instance_that_nobody_holds_does_not_come_back(self) -> None:
        assert decide(crashed(held_by=None, probe=WELL), NOW).status is None


class TestEnding:
    @pytest.mark.parametrize(
        ("facts", "reason", "message"),
        [
            ({"pool_gone": True}, "PoolDeleted", "its pool helpers was deleted"),
            ({"claim": ClaimFact(over="its claim wish was deleted")}, "ClaimEnded", "its claim wish was deleted"),
        ],
        ids=["pool", "claim"],
    )
    @pytest.mark.parametrize("stage", [starting, idle, crashed], ids=["starting", "idle", "crashed"])
    def test_an_instance_that_is_needed_no_more_is_deleted(
        self, stage: Any, facts: dict[str, Any], reason: str, message: str
    ) -> None:
        assert decide(stage(**facts), NOW).actions == (Delete(ONE, reason, message),)

    def test_deletion_is_not_ordered_twice(self) -> None:
        assert decide(observed(instance(deleting=True), pool_gone=True), NOW).actions == (Terminate(ONE),)

    def test_while_the_backend_ends_it_the_instance_says_so(self) -> None:
        plan = decide(observed(instance(deleting=True), remote=RUNNING, terminate_asked_at=NOW), at(1))
        assert (plan.actions, plan.look_again_in) == ((), LOOK_AT_REMOTE_SECONDS - 1)
        assert plan.status is not None
        assert plan.status.phase is InstancePhase.TERMINATING
        assert condition(plan.status).status == "False"

    def test_the_backend_is_asked_again_after_a_while(self) -> None:
        seen = observed(instance(deleting=True), terminate_asked_at=NOW)
        assert decide(seen, at(LOOK_AT_REMOTE_SECONDS)).actions == (Terminate(ONE),)

    @pytest.mark.parametrize("remote", [RUNNING, None, RemoteFact("4711", None, exited="killed")])
    @pytest.mark.parametrize("asked", [None, NOW])
    def test_it_is_never_released_before_the_backend_has_said_that_the_remote_is_gone(
        self, remote: RemoteFact | None, asked: Any
    ) -> None:
        plan = decide(observed(instance(deleting=True), remote=remote, terminate_asked_at=asked), at(1))
        assert not any(isinstance(action, Release) for action in plan.actions)

    def test_it_is_released_once_the_remote_is_gone(self) -> None:
        seen = observed(instance(deleting=True), terminate_asked_at=NOW, remote_gone=True)
        assert decide(seen, at(1)).actions == (Release(ONE),)

    def test_one_that_others_still_hold_back_is_left_to_them(self) -> None:
        seen = observed(instance(deleting=True, finalizers=("example.com/backup",)))
        assert decide(seen, NOW) == NOTHING
