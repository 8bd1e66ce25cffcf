"""What holds of every pool, instance and claim, however it came to be as it is."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.core import claim as claims
from controller.core import instance as instances
from controller.core import pool as pools
from controller.core.breaker import Breaker
from controller.core.members import Member, MemberState
from controller.core.plan import Bind, Create, Delete, Launch, Probe, Provision, Reject, Release, Terminate
from controller.core.stages import UNFINISHED, Stage
from controller.model import AgentClaim, AgentInstance, AgentPool, BreakerState, ClaimPhase, InstancePhase
from tests.core.builders import (
    NEW,
    NOTHING,
    NOW,
    OLD,
    QUEUEING,
    RAILWAY,
    RUNNING,
    SLEEPY,
    at,
    claim,
    condition,
    instance,
    member,
    pool,
    ref,
    seen_pool,
    waiting,
    with_status,
)

PROPERTY = settings(deadline=None, max_examples=50)
"""How long an example takes says something of the machine, not of the code."""


@st.composite
def rollouts(draw: st.DrawFn) -> dict[str, Any]:
    surge, unavailable = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    strategy = draw(st.sampled_from(["RollingUpdate", "RollingUpdate", "OnDelete"]))
    return {"strategy": strategy, "maxSurge": surge or (0 if unavailable else 1), "maxUnavailable": unavailable}


@st.composite
def pools_of_any_kind(draw: st.DrawFn, /, **fixed: Any) -> AgentPool:
    most = draw(st.integers(1, 12))
    free: dict[str, Any] = {
        "minIdle": draw(st.integers(0, min(5, most))),
        "maxTotal": most,
        "paused": draw(st.booleans()),
        "rollout": draw(rollouts()),
        "claims": {"whenEmpty": draw(st.sampled_from(["Queue", "Fail"]))},
        "circuitBreaker": {"failures": draw(st.integers(1, 3)), "openSeconds": 60},
    }
    return pool(**(free | fixed))


@st.composite
def members_of_any_kind(draw: st.DrawFn, number: int) -> Member:
    state = draw(st.sampled_from(MemberState))
    held = state is MemberState.CLAIMED or (
        state in {MemberState.CRASHED, MemberState.TERMINATING} and draw(st.booleans())
    )
    pending = state is MemberState.STARTING and draw(st.booleans())
    return member(
        f"i-{number}",
        state,
        template=draw(st.sampled_from([NEW, NEW, OLD])),
        ready=draw(st.none() | st.integers(-100, 0)),
        created=None if pending else draw(st.integers(-500, -100)),
        claimed=held,
        trouble="it failed" if state is MemberState.CRASHED else "",
        drift=draw(st.sampled_from(["", "", "somebody changed its source"])),
        pending_create=pending,
    )


@st.composite
def presences(draw: st.DrawFn, limit: int = 7) -> tuple[Member, ...]:
    return tuple(draw(members_of_any_kind(number)) for number in range(draw(st.integers(0, limit))))


@st.composite
def queues(draw: st.DrawFn) -> tuple[pools.Waiting, ...]:
    count = draw(st.integers(0, 6))
    return pools.serve_order(
        waiting(f"c-{n}", priority=draw(st.integers(-1, 1)), created=draw(st.integers(-9, 0)), order=n)
        for n in range(count)
    )


BREAKERS = st.sampled_from(
    [
        Breaker(),
        Breaker(BreakerState.CLOSED, 1, None, "it failed", at(-5)),
        Breaker(BreakerState.OPEN, 3, at(-5), "it failed", at(-5)),
        Breaker(BreakerState.OPEN, 3, at(-90), "it failed", at(-90)),
        Breaker(BreakerState.HALF_OPEN, 3, at(-90), "it failed", at(-90)),
    ]
)
HEALTH = st.sampled_from([pools.BackendHealth(), pools.BackendHealth(False, "BackendUnavailable", "it is down")])


@st.composite
def observed_pools(draw: st.DrawFn, /, **fixed: Any) -> pools.ObservedPool:
    return seen_pool(
        draw(pools_of_any_kind(**fixed)),
        *draw(presences()),
        claims=draw(queues()),
        backend=draw(HEALTH),
        breaker=draw(BREAKERS),
    )


def of_kind(plan: pools.PoolPlan, kind: type[Any]) -> list[Any]:
    return [action for action in plan.actions if isinstance(action, kind)]


@PROPERTY
@given(observed_pools())
def test_a_plan_never_takes_a_pool_past_its_maxtotal(seen: pools.ObservedPool) -> None:
    assert seen.pool is not None
    created, present = len(of_kind(pools.decide(seen, NOW), Create)), len(seen.members)
    assert created == 0 or created + present <= seen.pool.spec.max_total


@PROPERTY
@given(observed_pools())
def test_a_plan_never_deletes_an_instance_that_is_claimed_or_going_or_not_made_yet(seen: pools.ObservedPool) -> None:
    by_uid = {it.ref.uid: it for it in seen.members if not it.pending_create}
    for action in of_kind(pools.decide(seen, NOW), Delete):
        victim = by_uid[action.instance.uid]
        assert not victim.claimed
        assert victim.state not in {MemberState.CLAIMED, MemberState.TERMINATING}


@PROPERTY
@given(observed_pools())
def test_only_an_idle_instance_is_deleted_for_what_somebody_changed_and_only_in_a_rollout(
    seen: pools.ObservedPool,
) -> None:
    assert seen.pool is not None
    by_uid = {it.ref.uid: it for it in seen.members}
    for action in of_kind(pools.decide(seen, NOW), Delete):
        victim = by_uid[action.instance.uid]
        if action.reason == "Drifted":
            assert victim.drift == action.message
            assert victim.state in {MemberState.IDLE, MemberState.SUSPECT}
            assert seen.pool.spec.rollout.strategy == "RollingUpdate"


@PROPERTY
@given(observed_pools())
def test_no_claim_gets_a_changed_or_outdated_instance_while_it_could_have_another(seen: pools.ObservedPool) -> None:
    by_uid = {it.ref.uid: it for it in seen.members}
    given = [by_uid[action.instance.uid] for action in of_kind(pools.decide(seen, NOW), Bind)]
    kept = [it for it in seen.members if it.state is MemberState.IDLE and it not in given]
    if any(not it.is_current(NEW) for it in given):
        assert not any(it.is_current(NEW) for it in kept)


@PROPERTY
@given(observed_pools())
def test_only_healthy_idle_instances_are_bound_each_to_one_claim_that_waits(seen: pools.ObservedPool) -> None:
    plan = pools.decide(seen, NOW)
    bound = [action.instance.uid for action in of_kind(plan, Bind)]
    served = [action.claim.uid for action in of_kind(plan, Bind)]
    idle = {it.ref.uid for it in seen.members if it.state is MemberState.IDLE}
    assert len(set(bound)) == len(bound)
    assert set(bound) <= idle
    assert served == [it.ref.uid for it in seen.waiting[: len(idle)]]


@PROPERTY
@given(observed_pools())
def test_nothing_happens_twice_to_one_instance_or_one_claim(seen: pools.ObservedPool) -> None:
    plan = pools.decide(seen, NOW)
    touched = Counter(action.instance.uid for action in (*of_kind(plan, Bind), *of_kind(plan, Delete)))
    answered = Counter(action.claim.uid for action in (*of_kind(plan, Bind), *of_kind(plan, Reject)))
    assert set(touched.values()) | set(answered.values()) <= {1}


@PROPERTY
@given(observed_pools())
def test_no_claim_is_rejected_where_claims_queue(seen: pools.ObservedPool) -> None:
    assert seen.pool is not None
    rejected = of_kind(pools.decide(seen, NOW), Reject)
    assert seen.pool.spec.claims.when_empty == "Fail" or not rejected


@PROPERTY
@given(observed_pools(paused=True))
def test_a_paused_pool_creates_and_deletes_nothing(seen: pools.ObservedPool) -> None:
    assert {type(action) for action in pools.decide(seen, NOW).actions} <= {Bind, Reject}


@PROPERTY
@given(observed_pools())
def test_an_unavailable_backend_or_an_open_circuit_launches_nothing(seen: pools.ObservedPool) -> None:
    plan = pools.decide(seen, NOW)
    assert plan.status is not None
    breaker = plan.status.circuit_breaker
    if not seen.backend.available or (breaker is not None and breaker.state is BreakerState.OPEN):
        assert of_kind(plan, Create) == []
    if breaker is not None and breaker.state is BreakerState.HALF_OPEN:
        assert len(of_kind(plan, Create)) <= 1


@PROPERTY
@given(observed_pools())
def test_a_rollout_or_scaling_never_leaves_fewer_idle_than_it_may(seen: pools.ObservedPool) -> None:
    assert seen.pool is not None
    spec, plan = seen.pool.spec, pools.decide(seen, NOW)
    idle = {it.ref.uid for it in seen.members if it.state in {MemberState.IDLE, MemberState.SUSPECT}}
    unbound = idle - {action.instance.uid for action in of_kind(plan, Bind)}
    left = unbound - {action.instance.uid for action in of_kind(plan, Delete)}
    held = len(of_kind(plan, Bind)) + sum(it.state in {MemberState.CLAIMED, MemberState.CRASHED} for it in seen.members)
    least = min(spec.min_idle, spec.max_total - held) - spec.rollout.max_unavailable
    assert len(left) >= min(len(unbound), least)


@PROPERTY
@given(observed_pools())
def test_deciding_twice_is_equal(seen: pools.ObservedPool) -> None:
    assert pools.decide(seen, NOW) == pools.decide(seen, NOW)


@PROPERTY
@given(observed_pools())
def test_the_counts_of_a_pool_add_up_to_its_total(seen: pools.ObservedPool) -> None:
    status = pools.decide(seen, NOW).status
    assert status is not None
    counted = status.idle + status.starting + status.claimed + status.crashed + status.terminating
    assert counted == status.total == len(seen.members)
    assert status.updated <= status.idle + status.starting


@dataclass
class PoolWorld:
    """What becomes of a pool when its plans are carried out."""

    seen: pools.ObservedPool
    now: datetime = NOW
    made: int = 0
    log: list[str] = field(default_factory=list)

    def reserve(self, plan: pools.PoolPlan) -> None:
        """Count everything as done at once, as the view does while the requests are under way."""
        kept = {it.ref.uid: it for it in self.seen.members}
        queue = {it.ref.uid: it for it in self.seen.waiting}
        for action in plan.actions:
            self.log.append(type(action).__name__)
            match action:
                case Bind():
                    uid = action.instance.uid
                    kept[uid] = replace(kept[uid], state=MemberState.CLAIMED, claimed=True)
                    del queue[action.claim.uid]
                case Delete():
                    uid = action.instance.uid
                    kept[uid] = replace(kept[uid], state=MemberState.TERMINATING)
                case Create():
                    self.made += 1
                    name = f"made-{self.made}"
                    kept[f"uid-{name}"] = member(name, MemberState.STARTING, created=None, pending_create=True)
                case Reject():
                    del queue[action.claim.uid]
        written = plan.status
        assert written is not None
        self.seen = replace(
            self.seen,
            pool=with_status(self.seen.pool, written),
            members=tuple(kept.values()),
            waiting=pools.serve_order(queue.values()),
            breaker=Breaker.from_status(written.circuit_breaker),
        )

    def settle(self) -> pools.PoolPlan:
        """One pass: decide and reserve until nothing is left to do."""
        for _ in range(3):
            plan = pools.decide(self.seen, self.now)
            self.reserve(plan)
            if not plan.actions:
                return plan
        raise AssertionError(f"a pass does not come to rest: {self.log}")

    def go_on(self, random: Random, hurry: float) -> None:
        """Let time pass: what is made starts, what starts becomes ready, what ends is gone; each if it is lucky."""
        self.now += timedelta(seconds=40)
        self.seen = replace(
            self.seen,
            members=tuple(
                moved
                for it in self.seen.members
                if (moved := self._moved(it) if random.random() < hurry else it) is not None
            ),
        )

    def _moved(self, it: Member) -> Member | None:
        match it.state:
            case MemberState.TERMINATING:
                return None
            case MemberState.STARTING if it.pending_create:
                return replace(it, pending_create=False, created=self.now)
            case MemberState.STARTING | MemberState.SUSPECT:
                return replace(it, state=MemberState.IDLE, ready_at=self.now)
            case _:
                return it


@PROPERTY
@given(observed_pools())
def test_a_pass_comes_to_rest_once_its_own_writes_count(seen: pools.ObservedPool) -> None:
    world = PoolWorld(seen)
    rest = world.settle()
    again = pools.decide(world.seen, NOW)
    assert (again.actions, again.status) == ((), rest.status)


@PROPERTY
@given(
    pools_of_any_kind(paused=False),
    presences(10),
    queues(),
    BREAKERS,
    st.randoms(use_true_random=False),
    st.lists(st.floats(0, 1), max_size=8),
)
def test_every_pool_comes_to_rest_at_its_size_and_on_its_current_template(
    of: AgentPool,
    present: tuple[Member, ...],
    queue: tuple[pools.Waiting, ...],
    breaker: Breaker,
    random: Random,
    luck: list[float],
) -> None:
    spec = of.spec
    world = PoolWorld(seen_pool(of, *present[: spec.max_total], claims=queue, breaker=breaker))
    for hurry in (*luck, *[1.0] * 60):
        plan = world.settle()
        assert len(world.seen.members) <= spec.max_total
        before = world.seen.members
        world.go_on(random, hurry)
        if hurry == 1.0 and before == world.seen.members and plan.look_again_in is None:
            break
    else:
        raise AssertionError(f"the pool does not come to rest: {world.log}")
    held = sum(it.claimed for it in world.seen.members)
    warm = [it for it in world.seen.members if not it.claimed]
    assert {it.state for it in warm} <= {MemberState.IDLE}
    assert len(warm) == min(spec.min_idle, spec.max_total - held)
    assert not world.seen.waiting or (held == spec.max_total and not warm)
    if not all(it.is_current(NEW) for it in warm) and spec.rollout.strategy == "RollingUpdate":
        assert len(world.seen.members) == spec.max_total
        assert "the rollout cannot go on" in condition(plan.status, "Degraded").message


# Instances.


@st.composite
def observed_instances(draw: st.DrawFn) -> instances.ObservedInstance:
    phase = draw(st.none() | st.sampled_from(InstancePhase))
    never = phase in {None, InstancePhase.STARTING} or (phase is InstancePhase.CRASHED and draw(st.booleans()))
    status = {"phase": phase, "readyAt": None if never else at(-50)}
    held = draw(st.booleans())
    exited = draw(st.none() | st.just("exit code 3"))
    failures = draw(st.integers(0, 4))
    backend = draw(st.sampled_from([None, RAILWAY, SLEEPY]))
    staged = replace(
        RUNNING,
        stage=draw(st.sampled_from(Stage)),
        since=draw(st.none() | st.integers(-700, 0).map(at)),
        told=draw(st.sampled_from(["", "it waits for its turn"])),
        drift=draw(st.sampled_from(["", "", "somebody changed its source"])),
    )
    return instances.ObservedInstance(
        instance=instance(
            claim="wish" if held else None,
            status=status,
            created=draw(st.integers(-400, 0)),
            deleting=draw(st.booleans()),
            backend=backend,
            finalizers=draw(st.sampled_from([("agentpool.dev/remote",), ()])),
        ),
        pool_gone=draw(st.booleans()),
        claim=draw(
            st.sampled_from(
                [
                    instances.ClaimFact(),
                    instances.ClaimFact(over="it was deleted"),
                    instances.ClaimFact(bound_at=at(-9), conversation_id="c", provisioned=True),
                ]
            )
        )
        if held
        else None,
        remote=draw(
            st.sampled_from([None, RUNNING, staged, replace(staged, url=None), replace(staged, exited=exited)])
        ),
        remote_known=draw(st.booleans()),
        remote_gone=draw(st.booleans()),
        terminate_asked_at=draw(st.none() | st.integers(-10, 0).map(at)),
        probe=draw(
            st.none()
            | st.integers(-40, 0).map(lambda when: instances.ProbeFact(at(when), failures == 0, failures, "timeout"))
        ),
        trouble=draw(st.none() | st.just(instances.LaunchTrouble(at(-1), 3, "LaunchFailed", "it is busy"))),
        first_seen_at=draw(st.none() | st.integers(-40, 0).map(at)),
        suspect=draw(st.booleans()),
        replaced_on_delete=draw(st.booleans()),
    )


@PROPERTY
@given(observed_instances())
def test_nobody_is_probed_who_is_built_deployed_or_asleep_and_well(seen: instances.ObservedInstance) -> None:
    remote, status = seen.remote, seen.instance.status
    if not any(isinstance(action, Probe) for action in instances.decide(seen, NOW).actions) or remote is None:
        return
    assert remote.stage not in UNFINISHED
    if remote.stage is Stage.SLEEPING and status.ready_at is not None:
        assert status.phase is InstancePhase.IDLE
        assert seen.suspect or (seen.probe is not None and seen.probe.failures)


@PROPERTY
@given(observed_instances())
def test_no_stage_is_the_end_of_a_claimed_instance(seen: instances.ObservedInstance) -> None:
    status = instances.decide(seen, NOW).status
    if seen.instance.spec.claim_ref is None or seen.instance.status.phase is not InstancePhase.CLAIMED:
        return
    if status is not None and status.phase is InstancePhase.CRASHED:
        assert condition(status).reason in {"Exited", "RemoteGone", "HealthCheckFailed"}


@PROPERTY
@given(observed_instances())
def test_a_change_at_the_backend_makes_nobody_do_anything_and_is_told_of_only_once(
    seen: instances.ObservedInstance,
) -> None:
    if seen.remote is None:
        return
    changed = instances.decide(replace(seen, remote=replace(seen.remote, drift="somebody changed its source")), NOW)
    plain = instances.decide(replace(seen, remote=replace(seen.remote, drift="")), NOW)
    assert (changed.actions, changed.look_again_in) == (plain.actions, plain.look_again_in)
    written = replace(seen, instance=with_status(seen.instance, changed.status))
    assert not any(note.reason == "Drifted" for note in instances.decide(written, NOW).notes)


@PROPERTY
@given(observed_instances())
def test_deciding_twice_on_an_instance_is_equal(seen: instances.ObservedInstance) -> None:
    assert instances.decide(seen, NOW) == instances.decide(seen, NOW)


@PROPERTY
@given(observed_instances())
def test_the_status_of_an_instance_settles_once_it_is_written(seen: instances.ObservedInstance) -> None:
    for _ in range(2):  # what is ready just now is looked at once more as an idle one
        seen = replace(seen, instance=with_status(seen.instance, instances.decide(seen, NOW).status))
    settled = instances.decide(seen, NOW).status
    assert settled is None or settled == seen.instance.status


@PROPERTY
@given(observed_instances())
def test_an_instance_is_released_only_when_it_is_deleted_and_nothing_of_its_remote_is_left(
    seen: instances.ObservedInstance,
) -> None:
    actions = instances.decide(seen, NOW).actions
    if any(isinstance(action, Release) for action in actions):
        assert seen.remote_gone
        assert seen.instance.metadata.deleting
    if seen.instance.metadata.deleting:
        assert {type(action) for action in actions} <= {Release, Terminate}


@PROPERTY
@given(observed_instances())
def test_time_never_stands_still_for_an_instance_that_time_alone_can_change(seen: instances.ObservedInstance) -> None:
    plan = instances.decide(seen, NOW)
    starts = seen.instance.status.phase in {None, InstancePhase.STARTING} and (
        plan.status is None or plan.status.phase is not InstancePhase.CRASHED
    )
    if starts and not plan.actions and not seen.instance.metadata.deleting:
        assert plan.look_again_in is not None


@dataclass
class InstanceWorld:
    """A backend and a runtime that make trouble for a while."""

    launches_to_fail: int
    probes_to_fail: int
    terminates_to_wait: int
    stages: list[tuple[Stage, float]] = field(default_factory=list)
    """What the backend does with it before it runs, and for how many seconds."""
    seen: instances.ObservedInstance = field(
        default_factory=lambda: instances.ObservedInstance(instance(created=0), first_seen_at=NOW)
    )
    now: datetime = NOW
    done: Counter[str] = field(default_factory=Counter)

    def live(self, until: InstancePhase | None, rounds: int = 200) -> AgentInstance | None:
        """Passes until it is in that phase, or, for ``None``, until it is released."""
        for _ in range(rounds):
            plan = instances.decide(self.seen, self.now)
            self.seen = replace(self.seen, instance=with_status(self.seen.instance, plan.status))
            for action in plan.actions:
                self.done[type(action).__name__] += 1
                if isinstance(action, Release):
                    return None
                self.perform(action)
            if until is not None and self.seen.instance.status.phase is until:
                return self.seen.instance
            if not plan.actions:
                assert plan.look_again_in is not None, "nothing will ever happen to it again"
                self.wait(max(plan.look_again_in, 0.001))
        raise AssertionError(f"it never gets there: {self.done}")

    def wait(self, seconds: float) -> None:
        """Until it is looked at again; sooner when the backend goes on with it."""
        if self.seen.remote is None or self.seen.remote.stage not in UNFINISHED:
            self.now += timedelta(seconds=seconds)
            return
        stage, left = self.stages[0]
        self.now += timedelta(seconds=min(seconds, left))
        if left > seconds:
            self.stages[0] = (stage, left - seconds)
        else:
            self.stages.pop(0)
            self.enter()

    def enter(self) -> None:
        """The backend begins the next stage."""
        stage = self.stages[0][0] if self.stages else Stage.RUNNING
        self.seen = replace(self.seen, remote=replace(RUNNING, stage=stage, since=self.now), trouble=None)

    def perform(self, action: object) -> None:
        match action:
            case Launch() if self.launches_to_fail:
                self.launches_to_fail -= 1
                tries = self.seen.trouble.tries + 1 if self.seen.trouble else 1
                trouble = instances.LaunchTrouble(self.now, tries, "LaunchFailed", "the engine is busy")
                self.seen = replace(self.seen, trouble=trouble)
            case Launch():
                self.enter()
            case Probe():
                ready = self.probes_to_fail == 0
                self.probes_to_fail -= not ready
                failures = 0 if ready else (self.seen.probe.failures + 1 if self.seen.probe else 1)
                self.seen = replace(self.seen, probe=instances.ProbeFact(self.now, ready, failures, "not yet"))
            case Terminate():
                gone = self.terminates_to_wait == 0
                self.terminates_to_wait -= not gone
                self.seen = replace(self.seen, terminate_asked_at=self.now, remote_gone=gone)


@PROPERTY
@given(st.integers(0, 6), st.integers(0, 40), st.integers(0, 5))
def test_an_instance_becomes_idle_and_later_ends_however_often_the_world_says_not_yet(
    launches: int, probes: int, terminates: int
) -> None:
    world = InstanceWorld(launches, probes, terminates)
    idle = world.live(InstancePhase.IDLE)
    assert idle is not None
    assert idle.status.ready_at == world.now
    assert (world.done["Launch"], world.done["Probe"]) == (launches + 1, probes + 1)
    going = idle.model_copy(update={"metadata": idle.metadata.model_copy(update={"deletion_timestamp": world.now})})
    world.seen = replace(world.seen, instance=going)
    assert world.live(None) is None
    assert (world.done["Terminate"], world.done["Release"]) == (terminates + 1, 1)


@PROPERTY
@given(st.integers(0, 20))
def test_an_instance_that_is_never_ready_crashes_at_its_deadline(launches: int) -> None:
    world = InstanceWorld(launches, probes_to_fail=10**6, terminates_to_wait=0)
    crashed = world.live(InstancePhase.CRASHED, rounds=5000)
    assert crashed is not None
    assert world.now == at(world.seen.timing.deadline_seconds)


TIMES = st.floats(0, 2000)


@PROPERTY
@given(st.lists(TIMES, max_size=3), TIMES, st.integers(0, 40))
def test_an_instance_that_is_built_and_deployed_is_idle_unless_a_stage_of_it_took_too_long(
    builds: list[float], deployment: float, probes: int
) -> None:
    world = InstanceWorld(
        launches_to_fail=0,
        probes_to_fail=probes,
        terminates_to_wait=0,
        stages=[*((Stage.BUILDING, seconds) for seconds in builds), (Stage.DEPLOYING, deployment)],
        seen=instances.ObservedInstance(instance(created=0, backend=RAILWAY), first_seen_at=NOW),
    )
    timing, built = world.seen.timing, sum(builds)
    # At that very moment both may be true: it is over time, and it is done.
    assume(built != timing.build_deadline_seconds and deployment != timing.deploy_deadline_seconds)
    too_long = built > timing.build_deadline_seconds, deployment > timing.deploy_deadline_seconds
    there = world.live(InstancePhase.CRASHED if any(too_long) else InstancePhase.IDLE)
    assert there is not None
    if too_long[0]:
        assert (world.now, world.done["Probe"]) == (at(timing.build_deadline_seconds), 0)
    elif too_long[1]:
        assert world.done["Probe"] == 0
        assert abs((world.now - at(built + timing.deploy_deadline_seconds)).total_seconds()) < 1
    else:
        assert world.done["Probe"] == probes + 1


# Claims.

FATES = st.sampled_from(["done", "unfit", "transient", "refused", "crash", "unprepared"])


@dataclass
class ClaimWorld:
    """Instances that are handed to one claim, one after the other, each with a fate of its own."""

    fates: list[list[str]]
    wish: AgentClaim = field(default_factory=claim)
    now: datetime = NOW
    number: int = 0
    held: claims.Assigned | None = None
    outcome: claims.ProvisionOutcome | None = None
    retired: int = 0
    said: list[str] = field(default_factory=list)

    def live(self, rounds: int = 400) -> ClaimPhase:
        """Passes until the claim has its agent or will never have one."""
        for _ in range(rounds):
            plan = claims.decide(self.observed(), self.now)
            self.wish = with_status(self.wish, plan.status)
            phase = self.wish.status.phase
            if phase is not None and (phase.ended or phase.provisioned):
                assert plan.actions == ()
                return phase
            for action in plan.actions:
                self.perform(action)
            if not plan.actions:
                if self.held is None:
                    self.hand_out()
                else:
                    assert plan.look_again_in is not None, "nothing will ever happen to it again"
                    self.now += timedelta(seconds=max(plan.look_again_in, 0.001))
        raise AssertionError(f"it never ends: {self.said}")

    def observed(self) -> claims.ObservedClaim:
        return claims.ObservedClaim(self.wish, QUEUEING, self.held, self.outcome, first_seen_at=NOW)

    def hand_out(self) -> None:
        self.number += 1
        self.held = claims.Assigned(ref(f"i-{self.number}"), "http://127.0.0.1:9000")

    def perform(self, action: object) -> None:
        assert self.held is not None
        match action:
            case Delete():
                assert action.instance == self.held.ref
                self.held, self.retired = None, self.retired + 1
            case Provision():
                self.provision(self.held)

    def provision(self, held: claims.Assigned) -> None:
        script = self.fates[self.number - 1] if self.number <= len(self.fates) else []
        kind = script.pop(0) if script else "done"
        self.said.append(kind)
        self.now += timedelta(seconds=1)
        if kind == "crash":
            self.held = replace(held, crashed="killed by signal 9")
            return
        last = self.outcome if self.outcome is not None and self.outcome.instance_uid == held.ref.uid else None
        first, tries = (last.first_try_at, last.tries + 1) if last is not None else (self.now, 1)
        self.outcome = claims.ProvisionOutcome(held.ref.uid, kind, first, self.now, tries, "Reason", "it said so")


@PROPERTY
@given(st.lists(st.lists(FATES, max_size=12), max_size=5))
def test_every_claim_ends_bound_or_failed_and_counts_the_instances_that_it_used_up(fates: list[list[str]]) -> None:
    world = ClaimWorld(fates)
    phase = world.live()
    assert phase in {ClaimPhase.BOUND, ClaimPhase.FAILED}
    assert world.retired < claims.MAX_ATTEMPTS
    status = world.wish.status
    if phase is ClaimPhase.BOUND:
        assert world.said[-1] == "done"
        assert world.held is not None
        assert (status.instance, status.attempts or 0) == (world.held.ref.name, world.retired)
    again = claims.decide(world.observed(), world.now)
    assert (again.actions, again.notes, again.status or status) == ((), (), status)


@st.composite
def observed_claims(draw: st.DrawFn) -> claims.ObservedClaim:
    phase = draw(st.none() | st.sampled_from(ClaimPhase))
    bound = phase is ClaimPhase.BOUND
    status = {"phase": phase, "boundAt": at(-30) if bound else None, "attempts": draw(st.none() | st.integers(1, 2))}
    spec: dict[str, Any] = draw(
        st.sampled_from([{}, {"lifetimeSeconds": 30}, {"lifetimeSeconds": 90}, {"bindTimeoutSeconds": 40}])
    )
    mine = claims.Assigned(ref("one"), draw(st.sampled_from([None, "http://127.0.0.1:9000"])))
    tried = draw(st.integers(-60, 0))
    outcomes = st.builds(
        claims.ProvisionOutcome,
        instance_uid=st.sampled_from(["uid-one", "uid-another"]),
        kind=st.sampled_from(["done", "unfit", "refused", "transient", "unprepared"]),
        first_try_at=st.just(at(tried)),
        at=st.just(at(tried / 2)),
        tries=st.integers(1, 9),
        pending=st.booleans(),
    )
    return claims.ObservedClaim(
        claim=claim(created=draw(st.integers(-60, 0)), deleting=draw(st.booleans()), status=status, **spec),
        pool=draw(st.sampled_from([None, QUEUEING, replace(QUEUEING, queues=False), replace(QUEUEING, has_idle=True)])),
        assigned=draw(st.sampled_from([None, mine, replace(mine, crashed="it hangs"), replace(mine, deleting=True)])),
        outcome=draw(st.none() | outcomes),
        accepted_conversation=draw(st.none() | st.just("c-1")),
        asked_at=draw(st.none() | st.integers(-5, 0).map(at)),
        rejection=draw(st.none() | st.just(claims.Rejection("NoIdleInstance", "nothing for you"))),
        being_bound=draw(st.booleans()),
        first_seen_at=draw(st.none() | st.integers(-60, 0).map(at)),
        queue_position=draw(st.none() | st.integers(1, 9)),
        status_written_at=draw(st.none() | st.integers(-20, 0).map(at)),
    )


@PROPERTY
@given(observed_claims())
def test_deciding_twice_on_a_claim_is_equal(seen: claims.ObservedClaim) -> None:
    assert claims.decide(seen, NOW) == claims.decide(seen, NOW)


@PROPERTY
@given(observed_claims())
def test_the_status_of_a_claim_settles_once_it_is_written(seen: claims.ObservedClaim) -> None:
    first = claims.decide(seen, NOW)
    if first.actions:
        written = replace(seen, claim=with_status(seen.claim, first.status))
        again = claims.decide(written, NOW)
        # Only why an instance is deleted may be said in other words by then.
        of = [(type(it), getattr(it, "instance", None), getattr(it, "claim", None)) for it in first.actions]
        assert [(type(it), getattr(it, "instance", None), getattr(it, "claim", None)) for it in again.actions] == of
    for _ in range(2):  # what is provisioned just now is looked at once more as a bound one
        seen = replace(seen, claim=with_status(seen.claim, claims.decide(seen, NOW).status))
    assert claims.decide(seen, NOW).status in {None, seen.claim.status}


@PROPERTY
@given(observed_claims())
def test_a_claim_that_ended_or_is_deleted_is_never_touched(seen: claims.ObservedClaim) -> None:
    phase = seen.claim.status.phase
    if seen.claim.metadata.deleting or (phase is not None and phase.ended):
        assert claims.decide(seen, NOW) == NOTHING


@PROPERTY
@given(observed_claims())
def test_only_an_instance_that_holds_no_finished_conversation_is_deleted_by_its_claim(
    seen: claims.ObservedClaim,
) -> None:
    for action in claims.decide(seen, NOW).actions:
        if isinstance(action, Delete):
            assert seen.claim.status.phase is not ClaimPhase.BOUND
            assert seen.assigned is not None
            assert action.instance == seen.assigned.ref
