"""How an instance is built, deployed and booted, how it sleeps, and what each of these may take."""

from dataclasses import replace
from typing import Any

import pytest

from controller.core.instance import ClaimFact, LaunchTrouble, ObservedInstance, ProbeFact, RemoteFact, Timing, decide
from controller.core.plan import Launch, Probe, Rename, Resume
from controller.core.stages import Stage
from controller.model import InstancePhase, InstanceStatus
from tests.core.builders import NOW, RAILWAY, RUNNING, SLEEPY, at, condition, instance, ref, with_status

ONE = ref("one")
PROBE = Probe(ONE, RUNNING.url or "")
TIMING = Timing(deadline_seconds=60, build_deadline_seconds=1800, deploy_deadline_seconds=600, check_seconds=30)
BUILDING = RemoteFact("srv-1", None, stage=Stage.BUILDING, since=NOW)
DEPLOYING = replace(BUILDING, stage=Stage.DEPLOYING)
AWAKE = replace(RUNNING, backend_id="srv-1", since=NOW)
ASLEEP = replace(AWAKE, stage=Stage.SLEEPING)
LOST = replace(AWAKE, stage=Stage.UNKNOWN)
WELL = ProbeFact(at=NOW, ready=True)
ILL = ProbeFact(at=NOW, ready=False, failures=1, detail="connection refused")
BOUND = ClaimFact(bound_at=at(-3), conversation_id="c-1", provisioned=True)


def starting(
    remote: RemoteFact | None, *, created: float = 0, backend: Any = RAILWAY, **facts: Any
) -> ObservedInstance:
    """One that was never ready."""
    known: dict[str, Any] = {"timing": TIMING} | facts
    return ObservedInstance(instance=instance(created=created, backend=backend), remote=remote, **known)


def ready(
    remote: RemoteFact | None,
    phase: str = "Idle",
    *,
    held_by: str | None = None,
    backend: Any = RAILWAY,
    conditions: Any = (),
    **facts: Any,
) -> ObservedInstance:
    """One that was ready once; with the status that is decided, so that only what is done is left."""
    known: dict[str, Any] = {"timing": TIMING, "first_seen_at": NOW} | facts
    status = {"phase": phase, "readyAt": at(-100), "launchedAt": at(-110), "url": RUNNING.url, "backendId": "srv-1"}
    seen = ObservedInstance(
        instance=instance(claim=held_by, backend=backend, status=status | {"conditions": conditions}),
        remote=remote,
        **known,
    )
    return replace(seen, instance=with_status(seen.instance, decide(seen, NOW).status))


def claimed(remote: RemoteFact, **facts: Any) -> ObservedInstance:
    return ready(remote, "Claimed", held_by="wish", claim=BOUND, **facts)


def status_of(seen: ObservedInstance, seconds: float = 0) -> InstanceStatus:
    status = decide(seen, at(seconds)).status
    assert status is not None
    return status


def verdict(seen: ObservedInstance, seconds: float) -> tuple[str, str | None] | None:
    """Reason and sentence of its crash, if it crashes then."""
    status = decide(seen, at(seconds)).status
    if status is None or status.phase is not InstancePhase.CRASHED:
        return None
    return condition(status).reason, status.message


class TestProgress:
    @pytest.mark.parametrize(
        ("remote", "reason", "message"),
        [
            (BUILDING, "Building", "it is being built"),
            (replace(BUILDING, told="its build waits for its turn"), "Building", "its build waits for its turn"),
            (DEPLOYING, "Deploying", "it is being deployed"),
        ],
        ids=["building", "what the backend says goes first", "deploying"],
    )
    def test_its_status_says_how_far_it_is(self, remote: RemoteFact, reason: str, message: str) -> None:
        status = status_of(starting(remote))
        assert (status.phase, status.message, status.backend_id) == (InstancePhase.STARTING, message, "srv-1")
        assert (condition(status).status, condition(status).reason) == ("False", reason)

    @pytest.mark.parametrize("remote", [BUILDING, DEPLOYING], ids=["building", "deploying"])
    def test_nothing_is_written_again_while_it_stays_there(self, remote: RemoteFact) -> None:
        seen = starting(remote)
        written = replace(seen, instance=with_status(seen.instance, status_of(seen)))
        assert status_of(written, 300) == written.instance.status

    @pytest.mark.parametrize("remote", [BUILDING, DEPLOYING], ids=["building", "deploying"])
    def test_it_is_not_probed_even_if_it_has_an_address_already(self, remote: RemoteFact) -> None:
        plan = decide(starting(replace(remote, url=RUNNING.url)), NOW)
        assert (plan.actions, plan.look_again_in) == ((), 1800 if remote is BUILDING else 600)

    def test_once_it_runs_it_is_probed_at_once(self) -> None:
        assert decide(starting(AWAKE), NOW).actions == (PROBE,)

    def test_what_its_first_probes_say_is_not_written_however_long_it_was_built(self) -> None:
        seen = starting(AWAKE, created=-1500, probe=ILL)
        assert status_of(seen, 0.1).message == "it is starting"
        assert status_of(replace(seen, probe=replace(ILL, at=at(10.9))), 11).message == "connection refused"

    def test_a_stage_that_is_not_understood_is_probed_like_one_that_runs(self) -> None:
        assert decide(starting(LOST), NOW).actions == (PROBE,)
        assert status_of(starting(LOST, probe=ILL), 0.1).phase is InstancePhase.STARTING


class TestDeadlines:
    def test_the_build_has_its_time_from_the_creation_on(self) -> None:
        seen = starting(replace(BUILDING, since=at(900)))
        assert verdict(seen, 1799) is None
        assert verdict(seen, 1800) == (
            "BuildDeadlineExceeded",
            "it was not built within 1800 s; look at the build of srv-1 at railway, or raise "
            "startup.buildDeadlineSeconds",
        )

    def test_the_verdict_repeats_what_the_backend_said_last(self) -> None:
        told = verdict(starting(replace(BUILDING, told="it waits for somebody's approval")), 1800)
        assert told is not None
        assert told[1] is not None
        assert told[1].startswith("it was not built within 1800 s: it waits for somebody's approval; look at the build")

    def test_the_deployment_has_its_time_from_the_end_of_the_build_on(self) -> None:
        seen = starting(DEPLOYING, created=-1700)
        assert verdict(seen, 599) is None
        assert verdict(seen, 600) == (
            "DeployDeadlineExceeded",
            "it was not deployed within 600 s; look at the deployment of srv-1 at railway, or raise "
            "startup.deployDeadlineSeconds",
        )

    def test_the_program_has_its_time_from_when_it_runs(self) -> None:
        seen = starting(AWAKE, created=-2000, probe=replace(ILL, at=at(59.5)))
        assert verdict(seen, 59.9) is None
        assert verdict(seen, 60) == (
            "StartupDeadlineExceeded",
            "it runs, but was not ready within 60 s: connection refused; look at its logs, or raise "
            "startup.deadlineSeconds",
        )

    def test_a_backend_that_does_not_build_has_the_time_from_the_creation_on_as_ever(self) -> None:
        seen = starting(replace(AWAKE, since=at(50)), backend={"process": {}}, probe=replace(ILL, at=at(59.5)))
        assert verdict(seen, 60) == ("StartupDeadlineExceeded", "it was not ready within 60 s: connection refused")

    def test_one_that_nobody_can_place_has_the_time_of_all_stages_together(self) -> None:
        seen = starting(replace(LOST, told="Railway calls it DREAMING"), probe=ILL)
        assert verdict(seen, 2459) is None
        assert verdict(seen, 2460) == (
            "StartupDeadlineExceeded",
            "it was not ready within 2460 s: connection refused; Railway calls it DREAMING",
        )

    def test_a_launch_that_waits_for_its_turn_has_the_time_of_the_build(self) -> None:
        trouble = LaunchTrouble(at(1790), 30, "LaunchFailed", "services are created too quickly", retry_after=60)
        seen = starting(None, trouble=trouble)
        assert decide(seen, at(1795)).look_again_in == 5
        assert verdict(seen, 1800) == (
            "BuildDeadlineExceeded",
            "it was not launched within 1800 s of its creation: services are created too quickly",
        )

    def test_a_launch_is_not_tried_again_before_the_backend_wishes(self) -> None:
        seen = starting(None, trouble=LaunchTrouble(NOW, 1, "LaunchFailed", "too quickly", retry_after=60))
        assert (decide(seen, at(59)).actions, decide(seen, at(59)).look_again_in) == ((), 1)
        assert decide(seen, at(60)).actions == (Launch(ONE),)

    @pytest.mark.parametrize("backend", [RAILWAY, {"process": {}}], ids=["that builds", "that does not"])
    def test_a_controller_that_was_away_asks_once_before_it_gives_one_up(self, backend: Any) -> None:
        seen = starting(AWAKE, created=-5000, backend=backend)
        assert decide(seen, at(5000)).actions == (PROBE,)
        assert status_of(replace(seen, probe=replace(WELL, at=at(5000))), 5000).phase is InstancePhase.IDLE
        assert verdict(replace(seen, probe=replace(ILL, at=at(5000))), 5000) is not None

    def test_one_that_was_frozen_is_not_woken_after_its_time(self) -> None:
        frozen = replace(AWAKE, paused=True)
        assert decide(starting(frozen), at(59)).actions == (Resume(ONE),)
        assert verdict(starting(frozen), 60) is not None


class TestAsleepBeforeItWasReady:
    """It was deployed and had no traffic, while no controller looked."""

    def test_one_probe_finds_out(self) -> None:
        assert decide(starting(ASLEEP), at(900)).actions == (PROBE,)

    def test_one_that_answers_is_idle(self) -> None:
        assert status_of(starting(ASLEEP, probe=WELL)).phase is InstancePhase.IDLE

    def test_it_is_not_asked_again_while_the_backend_calls_it_asleep(self) -> None:
        seen = starting(ASLEEP, probe=ILL)
        plan = decide(seen, at(30))
        assert (plan.actions, plan.look_again_in) == ((), 30)
        assert condition(status_of(seen, 30)).reason == "Sleeping"

    def test_one_that_fell_asleep_again_since_is_asked_again(self) -> None:
        assert decide(starting(replace(ASLEEP, since=at(700)), probe=ILL), at(700)).actions == (PROBE,)

    def test_once_it_is_awake_it_is_probed_like_any_other(self) -> None:
        assert decide(starting(replace(AWAKE, since=at(30)), probe=ILL), at(30)).actions == (PROBE,)

    def test_it_has_its_time_from_the_probe_that_wakes_it(self) -> None:
        assert verdict(starting(ASLEEP, created=-9000, probe=ILL), 59) is None
        assert verdict(starting(ASLEEP, created=-9000, probe=ILL), 60) is not None


class TestAsleep:
    @pytest.mark.parametrize("probe", [None, WELL], ids=["after a restart", "seen well before"])
    @pytest.mark.parametrize("backend", [RAILWAY, SLEEPY], ids=["against the spec", "by the spec"])
    def test_a_sleeping_idle_instance_is_idle_and_never_probed(self, backend: Any, probe: ProbeFact | None) -> None:
        seen = ready(ASLEEP, backend=backend, probe=probe)
        plan = decide(seen, at(1e6))
        assert (plan.actions, plan.look_again_in, plan.status) == ((), None, seen.instance.status)
        assert seen.instance.status.phase is InstancePhase.IDLE
        assert condition(seen.instance.status).status == "True"

    def test_a_sleeping_claimed_instance_is_claimed_and_never_probed(self) -> None:
        plan = decide(claimed(ASLEEP, backend=SLEEPY), at(1e6))
        assert (plan.actions, plan.status and plan.status.phase) == ((), InstancePhase.CLAIMED)

    def test_one_that_a_claim_takes_is_left_to_wake_by_the_claims_own_traffic(self) -> None:
        seen = ready(ASLEEP, held_by="wish", claim=ClaimFact(), backend=SLEEPY)
        assert decide(seen, at(1e6)).actions == ()

    def test_a_sleeper_that_a_claim_holds_is_renamed_all_the_same(self) -> None:
        assert decide(claimed(replace(ASLEEP, anonymous=True)), NOW).actions == (Rename(ONE, "Ada"),)

    @pytest.mark.parametrize(
        "seen", [ready(AWAKE, backend=SLEEPY), claimed(AWAKE, backend=SLEEPY)], ids=["idle", "claimed"]
    )
    def test_where_instances_may_sleep_no_check_keeps_one_awake(self, seen: ObservedInstance) -> None:
        assert (decide(seen, at(1e6)).actions, decide(seen, at(1e6)).look_again_in) == ((), None)

    def test_nor_while_its_backend_cannot_be_read(self) -> None:
        assert decide(ready(None, remote_known=False, backend=SLEEPY), at(1e6)).actions == ()

    def test_where_they_may_not_one_that_is_awake_is_checked(self) -> None:
        assert decide(ready(AWAKE, probe=WELL), at(30)).actions == (PROBE,)

    @pytest.mark.parametrize("seen", [ready(ASLEEP, backend=SLEEPY), claimed(ASLEEP)], ids=["idle", "claimed"])
    def test_the_backends_word_that_it_ended_counts(self, seen: ObservedInstance) -> None:
        ended = replace(seen, remote=replace(AWAKE, exited="its program crashed"))
        assert verdict(ended, 9) == ("Exited", "its program crashed")

    def test_an_idle_sleeper_in_doubt_is_asked_or_nobody_would_ever_get_it(self) -> None:
        seen = ready(ASLEEP, probe=ILL, suspect=True)
        assert decide(seen, at(2)).actions == (PROBE,)

    def test_a_crashed_sleeper_is_left_alone_until_others_wake_it(self) -> None:
        failed = {"type": "Ready", "status": "False", "reason": "Exited", "lastTransitionTime": at(-5)}
        facts: dict[str, Any] = {"held_by": "wish", "claim": BOUND, "backend": SLEEPY, "conditions": [failed]}
        assert decide(ready(ASLEEP, "Crashed", **facts), at(1e6)).actions == ()
        awake = ready(AWAKE, "Crashed", **facts)
        assert decide(awake, at(30)).actions == (PROBE,)
        assert status_of(replace(awake, probe=WELL)).phase is InstancePhase.CLAIMED


class TestUnknown:
    def test_a_stage_that_is_not_understood_is_no_death(self) -> None:
        assert status_of(ready(LOST, probe=WELL)).phase is InstancePhase.IDLE
        assert status_of(claimed(LOST, probe=WELL)).phase is InstancePhase.CLAIMED

    def test_its_checks_go_on(self) -> None:
        assert decide(ready(LOST, probe=WELL), at(30)).actions == (PROBE,)


class TestBegunAnew:
    """Somebody has the backend build or deploy again what was ready before."""

    @pytest.mark.parametrize("remote", [BUILDING, DEPLOYING], ids=["built", "deployed"])
    @pytest.mark.parametrize("probe", [None, ILL, WELL], ids=["never asked", "suspect", "well"])
    def test_it_is_not_probed(self, remote: RemoteFact, probe: ProbeFact | None) -> None:
        assert decide(ready(remote, probe=probe), at(500)).actions == ()

    def test_an_idle_one_stays_idle_for_as_long_as_a_new_one_may_take(self) -> None:
        seen = ready(DEPLOYING)
        assert (status_of(seen, 599).phase, decide(seen, at(599)).look_again_in) == (InstancePhase.IDLE, 1)
        told = verdict(seen, 600)
        assert told is not None
        assert told[0] == "DeployDeadlineExceeded"

    def test_a_claimed_one_is_left_to_it_for_ever(self) -> None:
        assert status_of(claimed(BUILDING), 1e6).phase is InstancePhase.CLAIMED

    @pytest.mark.parametrize("backend", [RAILWAY, SLEEPY], ids=["checked", "not checked otherwise"])
    @pytest.mark.parametrize("probe", [None, WELL], ids=["after a restart", "seen well before"])
    def test_what_came_of_it_is_asked_at_once(self, backend: Any, probe: ProbeFact | None) -> None:
        seen = ready(AWAKE, backend=backend, probe=probe, suspect=True)
        assert decide(seen, NOW).actions == (PROBE,)
