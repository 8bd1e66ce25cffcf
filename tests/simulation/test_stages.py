"""Instances that are built and deployed before they run, that fall asleep, and that somebody changes."""

import asyncio
from typing import Any

import pytest

from controller.model import AgentClaim, AgentInstance, ClaimPhase, InstancePhase, condition_of
from controller.ports import RemoteState
from tests.doubles.backend import Habits, Machine
from tests.doubles.cluster import Change
from tests.simulation.world import NAMESPACE, World, tell

BUILDERS = Habits(build=(60.0, 60.0), deploy=(20.0, 20.0), boot=(2.0, 2.0))
SLEEPERS = Habits(boot=(6.0, 6.0))
OFTEN = {"intervalSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 1}


def begin(world: World, idle: int = 2, *, sleeps: bool = False, **spec: Any) -> None:
    """A pool on a backend that builds, deploys and, if wanted, puts to sleep; and its controller."""
    world.server.secrets[NAMESPACE, "way-in"] = {"token": "a-token"}
    way = {"projectId": "p", "environmentId": "e", "tokenSecretRef": {"name": "way-in", "key": "token"}}
    backend = {"railway": way | {"sleepApplication": sleeps}}
    whole: dict[str, Any] = {"minIdle": idle, "maxTotal": 8, "health": OFTEN, "backend": backend} | spec
    world.create_pool(**whole)
    world.start()


async def warm(world: World, idle: int = 2, **spec: Any) -> list[Machine]:
    begin(world, idle, **spec)
    await world.until(lambda: len(world.instances(InstancePhase.IDLE)) == idle, f"{idle} are idle", within=120.0)
    return sorted(world.machines.running.values(), key=lambda machine: machine.uid)


def of(world: World, machine: Machine) -> AgentInstance:
    found = world.server.by_uid(AgentInstance, machine.uid)
    assert found is not None
    return found


def drifted(world: World, machine: Machine) -> tuple[str, str] | None:
    """Status and sentence of the condition that somebody changed it, if it bears it."""
    condition = condition_of(of(world, machine).status.conditions, "Drifted")
    return (condition.status, condition.message) if condition is not None else None


def test_an_instance_says_how_far_it_is_in_one_write_for_each_stage_and_is_not_asked_before_it_runs() -> None:
    async def story(world: World) -> None:
        said: list[str] = []

        def hear(change: Change) -> None:
            if isinstance(change.thing, AgentInstance) and change.thing.status.conditions:
                said.append(change.thing.status.conditions[0].reason)

        world.server.observers.append(hear)
        begin(world, 1)
        await world.until(lambda: bool(world.machines.running), "it is launched")
        [machine] = world.machines.running.values()
        await asyncio.sleep(79.0)
        assert machine.requests == 0
        await world.until_warm(1)
        assert said == ["Building", "Deploying", "NotReady", "Ready"]

    tell(story, habits=BUILDERS)


def test_what_is_not_built_in_time_is_replaced_and_the_pool_says_why() -> None:
    async def story(world: World) -> None:
        began = asyncio.get_running_loop().time()
        begin(world, 1, startup={"buildDeadlineSeconds": 40}, circuitBreaker={"failures": 1, "openSeconds": 600})
        await world.until(
            lambda: any(it.reason == "BuildDeadlineExceeded" for _, it in world.server.events), "it is given up"
        )
        assert 40 <= asyncio.get_running_loop().time() - began < 42
        await world.until(lambda: not world.machines.running, "its remains are gone")
        assert world.machines.all[0].requests == 0

    tell(story, habits=BUILDERS)


def test_a_restart_in_the_midst_of_a_build_goes_on_with_it() -> None:
    async def story(world: World) -> None:
        begin(world)
        await world.until(lambda: len(world.machines.running) == 2, "both are launched")
        await asyncio.sleep(30.0)
        await world.restart(after=20.0)
        await world.until_warm(2)
        assert len(world.machines.all) == 2
        await world.rest()

    tell(story, habits=BUILDERS)


@pytest.mark.parametrize("restart", [False, True], ids=["watched all the time", "after a restart"])
def test_nobody_wakes_a_sleeper_but_its_claim_and_that_one_waits_for_it(restart: bool) -> None:
    async def story(world: World) -> None:
        first, second = await warm(world, 2, sleeps=True)
        for machine in (first, second):
            world.machines.put_to_sleep(machine)
        asked = first.requests + second.requests
        if restart:
            await world.restart()
        await asyncio.sleep(3600.0)
        assert (first.requests + second.requests, len(world.machines.all)) == (asked, 2)
        world.create_claim("mine")
        claim = await world.until_phase("mine", ClaimPhase.BOUND)
        assert (claim.status.attempts, claim.status.instance) in {
            (None, of(world, m).metadata.name) for m in (first, second)
        }
        assert not any(it.reason in {"InstanceCrashed", "Rebinding"} for _, it in world.server.events)
        await world.rest()

    tell(story, habits=SLEEPERS)


def test_where_instances_may_sleep_nobody_keeps_them_awake() -> None:
    async def story(world: World) -> None:
        machines = await warm(world, 2, sleeps=True)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        asked = [machine.requests for machine in machines]
        await asyncio.sleep(600.0)
        assert [machine.requests for machine in machines] == asked

    tell(story)


def test_a_sleeper_that_ends_is_replaced() -> None:
    async def story(world: World) -> None:
        first, _ = await warm(world, 2, sleeps=True)
        world.machines.put_to_sleep(first)
        world.machines.crash(first)
        await world.until(lambda: first.uid not in world.machines.running, "it is gone")
        await world.until_warm(2)

    tell(story)


def test_one_that_fell_asleep_before_anybody_looked_is_asked_until_it_is_known() -> None:
    async def story(world: World) -> None:
        begin(world, 1, sleeps=True)
        await world.until(lambda: bool(world.machines.running), "it is launched")
        world.process.die()
        await world.process.buried()
        [machine] = world.machines.running.values()
        await asyncio.sleep(900.0)
        machine.stage = RemoteState.SLEEPING
        world.start()
        await world.until_warm(1)
        assert len(world.machines.all) == 1

    tell(story, habits=SLEEPERS)


def test_an_idle_instance_that_somebody_changed_is_replaced_and_a_claimed_one_only_says_so() -> None:
    async def story(world: World) -> None:
        await warm(world, 2)
        world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.until_warm(2)
        mine = world.holder("mine")
        assert mine is not None
        held = world.machines.running[mine.metadata.uid]
        idle = next(machine for machine in world.machines.running.values() if machine is not held)
        for machine in (held, idle):
            world.machines.change(machine, "somebody changed the variable MODEL")
        await world.until(lambda: idle.uid not in world.machines.running, "the idle one is replaced")
        await world.rest()
        assert drifted(world, held) == (
            "True",
            "somebody changed the variable MODEL; it belongs to a claim, so it is left as it is",
        )
        assert world.claim("mine").status.phase is ClaimPhase.BOUND
        assert sum(it.reason == "Drifted" and it.about.metadata.uid == held.uid for _, it in world.server.events) == 1
        world.machines.change(held, "")
        await world.rest()
        assert drifted(world, held) == ("False", "it is again what it was made as")

    tell(story)


def test_never_fewer_are_idle_than_wanted_while_changed_ones_are_replaced() -> None:
    async def story(world: World) -> None:
        machines = await warm(world, 3)
        for machine in machines:
            world.machines.change(machine, "somebody changed its source")
        least = 3

        def look(_: Change) -> None:
            nonlocal least
            least = min(least, sum(not i.metadata.deleting for i in world.instances(InstancePhase.IDLE)))

        world.server.observers.append(look)
        await world.until(lambda: not any(m.drift for m in world.machines.running.values()), "all are replaced")
        assert (least, len(world.machines.all)) == (3, 6)
        await world.rest()

    tell(story)


def test_with_ondelete_changed_instances_are_left_and_say_so() -> None:
    async def story(world: World) -> None:
        first, _ = await warm(world, 2, rollout={"strategy": "OnDelete"})
        world.machines.change(first, "somebody changed its source")
        await world.rest()
        told = drifted(world, first)
        assert told is not None
        assert "rollout.strategy is OnDelete" in told[1]
        assert len(world.machines.all) == 2

    tell(story)


@pytest.mark.parametrize("sleeps", [False, True], ids=["checked", "not checked otherwise"])
def test_an_idle_instance_that_is_built_anew_is_not_handed_out_before_it_is_well_again(sleeps: bool) -> None:
    async def story(world: World) -> None:
        [machine] = await warm(world, 1, sleeps=sleeps, maxTotal=1)
        world.machines.build_anew(machine)
        await asyncio.sleep(1.0)
        asked = machine.requests
        world.create_claim("mine")
        await asyncio.sleep(70.0)
        assert (world.claim("mine").status.phase, machine.requests) == (ClaimPhase.PENDING, asked)
        await world.until_phase("mine", ClaimPhase.BOUND)
        assert len(world.machines.all) == 1

    tell(story, habits=BUILDERS)


DEV_LINK = "https://dev.convos.org/v2?i=abc"


def test_a_claim_with_a_link_of_another_network_fails_and_costs_no_instance() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=2, maxTotal=4, template={"network": "production"})
        world.start()
        await world.until_warm(2)
        world.create_claim("mine", joinUrl=DEV_LINK)
        claim = await world.until_phase("mine", ClaimPhase.FAILED, within=1.0)
        assert (claim.status.message or "").startswith("its joinUrl belongs to the dev network")
        await world.rest()
        assert len(world.machines.all) == 2
        assert all(it.spec.claim_ref is None for it in world.server.list(AgentInstance))

    tell(story)


def test_the_agents_are_told_their_network() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, template={"network": "production"})
        world.start()
        await world.until_warm(1)
        [machine] = world.machines.running.values()
        assert machine.order.env["XMTP_ENV"] == "production"

    tell(story)


def test_a_claim_that_waits_fails_when_its_pool_moves_to_another_network() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=0, maxTotal=1, template={"network": "dev"})
        world.start()
        world.create_claim("first")
        await world.until_phase("first", ClaimPhase.BOUND)
        world.create_claim("second", joinUrl=DEV_LINK)
        await world.until_phase("second", ClaimPhase.PENDING)
        world.change_pool(template={"network": "production"})
        await world.until_phase("second", ClaimPhase.FAILED, within=2.0)
        world.delete(AgentClaim, "first")
        await world.rest()
        assert len(world.machines.all) == 1

    tell(story)
