"""Pools on several environments of one backend, each entered with a token of its own."""

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from controller.errors import Barred
from controller.model import AgentClaim, AgentInstance, AgentPool, ClaimPhase, InstancePhase, condition_of
from tests.simulation.weather import Climate
from tests.simulation.world import NAMESPACE, World, quietly, tell

CHECKS = {"intervalSeconds": 20, "failureThreshold": 2, "timeoutSeconds": 1}


def at(environment: str, token: str = "way-in") -> dict[str, Any]:
    """The options of a pool in an environment."""
    way = {"projectId": "project", "environmentId": environment, "tokenSecretRef": {"name": token, "key": "token"}}
    return {"railway": way}


def hold(world: World, token: str = "a-token", secret: str = "way-in") -> None:
    """Somebody keeps a token in a Secret."""
    world.server.secrets[NAMESPACE, secret] = {"token": token}


def in_environments(world: World) -> Counter[str | None]:
    """How many machines each environment has."""
    return Counter(machine.environment for machine in world.machines.running.values())


def degraded(world: World, pool: str) -> str | None:
    """Why the pool is degraded, if it is."""
    found = condition_of(world.server.read(AgentPool, NAMESPACE, pool).status.conditions, "Degraded")
    return found.reason if found is not None and found.status == "True" else None


def idle(world: World, pool: str) -> int:
    return sum(i.spec.pool == pool for i in world.instances(InstancePhase.IDLE))


def test_each_environment_gets_the_instances_of_its_own_pool() -> None:
    async def story(world: World) -> None:
        hold(world)
        world.create_pool("dev", minIdle=2, maxTotal=5, backend=at("dev"))
        world.create_pool("live", minIdle=3, maxTotal=5, backend=at("live"))
        world.create_pool("here", minIdle=1, maxTotal=2)
        world.start()
        await world.until_warm(6)
        assert in_environments(world) == {"dev": 2, "live": 3, None: 1}
        for pool in ("dev", "live", "here"):
            world.create_claim(f"for-{pool}", pool)
            await world.until_phase(f"for-{pool}", ClaimPhase.BOUND)
        await world.restart()
        await world.rest()
        assert in_environments(world) == {"dev": 3, "live": 4, None: 2}
        for pool in ("dev", "live"):
            world.delete(AgentPool, pool)
        await world.rest()
        assert in_environments(world) == {None: 2}

    tell(story)


def test_a_pool_that_comes_later_opens_its_place() -> None:
    async def story(world: World) -> None:
        hold(world)
        world.start()
        world.create_pool("first", minIdle=1, maxTotal=2, backend=at("dev"))
        await world.until_warm(1)
        world.create_pool("second", minIdle=1, maxTotal=2, backend=at("live"))
        await world.until_warm(2)
        await world.rest()

    tell(story)


def test_a_wrong_token_costs_nothing_and_nobody_else_notices() -> None:
    async def story(world: World) -> None:
        hold(world)
        hold(world, "no-token", "wrong")
        world.create_pool("bad", minIdle=2, maxTotal=5, backend=at("dev", "wrong"))
        world.create_pool("good", minIdle=2, maxTotal=5, backend=at("live"))
        world.start()
        await world.until_warm(2)
        world.create_claim("mine", "good")
        await world.until_phase("mine", ClaimPhase.BOUND)
        assert degraded(world, "bad") == "TokenRejected"
        assert {instance.spec.pool for instance in world.instances()} == {"good"}
        hold(world, secret="wrong")
        await world.until(lambda: idle(world, "bad") == 2, "the pool is warm")
        await world.rest()
        assert degraded(world, "bad") is None

    tell(story)


def test_a_token_that_is_not_there_is_named_and_awaited() -> None:
    async def story(world: World) -> None:
        world.create_pool("dev", minIdle=1, maxTotal=5, backend=at("dev"))
        world.start()
        await world.until(lambda: degraded(world, "dev") is not None, "the pool says so")
        found = condition_of(world.server.read(AgentPool, NAMESPACE, "dev").status.conditions, "BackendAvailable")
        assert found is not None
        assert "Secret way-in does not exist in namespace default: create it" in found.message
        assert world.instances() == []
        hold(world)
        await world.until_warm(1)
        await world.rest()

    tell(story)


@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "and after a restart"])
def test_an_instance_made_under_an_old_token_is_reached_and_ended_by_the_new_one(restarted: bool) -> None:
    async def story(world: World) -> None:
        hold(world)
        world.create_pool("dev", minIdle=2, maxTotal=5, health=CHECKS, backend=at("dev"))
        world.start()
        await world.until_warm(2)
        world.create_claim("mine", "dev")
        await world.until_phase("mine", ClaimPhase.BOUND)
        await world.until_warm(2)
        world.machines.tokens = {"new"}
        hold(world, "new", "new-way-in")
        world.change_pool("dev", backend=at("dev", "new-way-in"))
        if restarted:
            await world.restart()
        await asyncio.sleep(120)
        assert sum(world.machines.launches.values()) == 3  # nothing was taken for lost
        assert world.claim("mine").status.phase is ClaimPhase.BOUND
        world.delete(AgentClaim, "mine")
        world.delete(AgentInstance, world.instances(InstancePhase.IDLE)[0].metadata.name)
        await world.rest()
        world.delete(AgentPool, "dev")
        await world.until(lambda: not world.machines.running, "all are ended")
        await world.rest()

    tell(story)


def test_one_that_was_launched_just_before_the_token_changed_is_not_taken_for_lost() -> None:
    async def story(world: World) -> None:
        for secret in ("way-in", "new-way-in"):
            hold(world, secret=secret)
        world.create_pool("dev", minIdle=1, maxTotal=5, backend=at("dev"))
        world.create_pool("other", minIdle=0, maxTotal=1, backend=at("dev", "new-way-in"))
        world.start()
        await world.until_warm(1)
        await asyncio.sleep(35)
        world.change_pool("dev", minIdle=2)
        await world.until_warm(2)
        world.change_pool("dev", backend=at("dev", "new-way-in"))
        await world.rest()
        assert sum(world.machines.launches.values()) == 2

    tell(story)


def test_a_place_that_takes_nothing_is_asked_by_one_at_a_time_until_it_does() -> None:
    async def story(world: World) -> None:
        hold(world)
        world.create_pool("dev", minIdle=1, maxTotal=9, backend=at("dev"))
        world.create_pool("live", minIdle=1, maxTotal=5, backend=at("live"))
        world.start()
        await world.until_warm(2)
        barred = Barred("PlanLimit", "the plan allows no more services: raise it", 60)
        world.machines.habits = replace(world.machines.habits, barred=barred)
        began = len(world.trace)
        world.change_pool("dev", minIdle=6)
        await world.until(lambda: degraded(world, "dev") == "PlanLimit", "the pool says so")
        world.change_pool("dev", minIdle=8)
        world.create_claim("mine", "dev")
        await world.until_phase("mine", ClaimPhase.BOUND)  # what is warm is handed out all the same
        await asyncio.sleep(400)
        asked = sum(" launch " in line for line in world.trace[began:])
        assert asked <= 5 + 400 / 60 + 1, "one for each that was under way, then one a minute"
        assert sum(i.spec.pool == "dev" for i in world.instances()) == 6, "none was made meanwhile, and none given up"
        assert degraded(world, "live") is None
        breaker = world.server.read(AgentPool, NAMESPACE, "dev").status.circuit_breaker
        assert breaker is not None
        assert breaker.failures == 0
        world.machines.habits = replace(world.machines.habits, barred=None)
        await world.until(lambda: idle(world, "dev") == 8, "the pool is warm", within=90)
        await world.rest()
        assert degraded(world, "dev") is None

    tell(story)


def test_a_pool_that_is_made_while_its_place_takes_nothing_is_warm_soon_after_it_does() -> None:
    async def story(world: World) -> None:
        hold(world)
        barred = Barred("PlanLimit", "the plan allows no more services: raise it", 60)
        world.machines.habits = replace(world.machines.habits, barred=barred)
        world.create_pool("dev", minIdle=2, maxTotal=9, backend=at("dev"))
        world.start()
        await world.until(lambda: degraded(world, "dev") == "PlanLimit", "the pool says so")
        for instance in world.instances():
            world.delete(AgentInstance, instance.metadata.name)
        await asyncio.sleep(150)
        world.machines.habits = replace(world.machines.habits, barred=None)
        await world.until_warm(2)
        await world.rest()

    tell(story)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_each_environment_comes_to_rest_with_what_belongs_there(seed: int) -> None:
    async def story(world: World) -> None:
        random = Random(f"places {seed}")
        pools = {"dev": "dev", "live": "live", "two": "live"}
        hold(world)
        hold(world, secret="other")
        for pool, environment in pools.items():
            world.create_pool(pool, minIdle=2, maxTotal=6, health=CHECKS, backend=at(environment))
        world.start()
        for number in range(40):
            await asyncio.sleep(random.expovariate(0.5))
            pool = random.choice(list(pools))
            await _something(world, random, pool, pools[pool], number)
        world.weather.clear()
        await world.rest()
        wanted: Counter[str | None] = Counter(pools[i.spec.pool] for i in world.instances())
        assert in_environments(world) == wanted

    tell(story, seed, climate=Climate(lost=0.05, unanswered=0.05, late=0.03, slow=0.1))


async def _something(world: World, random: Random, pool: str, environment: str, number: int) -> None:
    match random.randrange(6):
        case 0 | 1:
            world.create_claim(f"claim-{number}", pool)
        case 2:
            claims = world.server.list(AgentClaim)
            if claims:
                world.delete(AgentClaim, random.choice(claims).metadata.name)
        case 3:
            quietly(world.change_pool, pool, backend=at(environment, random.choice(("way-in", "other"))))
        case 4:
            machines = [machine for machine in world.machines.running.values() if machine.lives]
            if machines:
                world.machines.crash(random.choice(machines))
        case _:
            await world.restart(after=random.random())
