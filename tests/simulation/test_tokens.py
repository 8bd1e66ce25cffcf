"""One token per instance, in a Secret that it owns: made before the launch, rotated at the claim, found again later."""

import asyncio
from collections.abc import Mapping

import pytest

from controller.errors import Refused
from controller.model import AgentClaim, AgentInstance, AgentPool, ClaimPhase, InstancePhase
from controller.ports import UNAUTHORIZED, Endpoint, ProvisionOrder
from controller.reconcile.formerkey import FormerKey
from tests.doubles.backend import Habits, Machine
from tests.doubles.cluster import Change
from tests.simulation.process import When
from tests.simulation.world import NAMESPACE, World, tell

FORMER = FormerKey(b"a key for the tokens of instances")


def content(world: World, instance: AgentInstance) -> Mapping[str, str]:
    return world.server.read_secret(NAMESPACE, f"{instance.metadata.name}-token").content


def machine_of(world: World, instance: AgentInstance) -> Machine:
    return world.machines.running[instance.metadata.uid]


def opens(world: World, machine: Machine, token: str) -> bool:
    try:
        world.programs.conversation(Endpoint(machine.url, "pool", token))
    except Refused as error:
        return error.reason != UNAUTHORIZED
    return True


async def bound(world: World, claim: str = "mine") -> AgentInstance:
    world.create_claim(claim)
    await world.until_phase(claim, ClaimPhase.BOUND)
    holder = world.holder(claim)
    assert holder is not None
    return holder


def writes_to_secrets(world: World, by: str = "controller-0") -> tuple[int, int]:
    """How many were made, and how many changed."""
    writes = world.server.count_writes(by)
    return writes["create", "Secret", ""], writes["patch", "Secret", ""]


def test_each_instance_is_launched_with_a_token_of_its_own_that_its_secret_holds() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=3)
        world.start()
        await world.until_warm(3)
        instances = world.instances()
        launched = {machine_of(world, i).order.env["OPENCLAW_GATEWAY_TOKEN"] for i in instances}
        following = {content(world, i)["next-token"] for i in instances}
        assert launched == {content(world, i)["token"] for i in instances}
        assert len(launched | following) == 6
        assert {len(token) for token in launched | following} == {64}
        assert not any(token in repr(machine_of(world, i).order) for i in instances for token in launched)
        assert writes_to_secrets(world) == (3, 0)

    tell(story)


def test_a_launched_instance_knows_its_own_token_and_what_its_template_names_and_nothing_else() -> None:
    async def story(world: World) -> None:
        world.server.secrets[NAMESPACE, "keys"] = {"model": "a-key", "other": "of somebody else"}
        reference = {"secretKeyRef": {"name": "keys", "key": "model"}}
        env = [{"name": "PLAIN", "value": "yes"}, {"name": "MODEL_KEY", "valueFrom": reference}]
        world.create_pool(minIdle=1, template={"env": env, "network": "dev"})
        world.start()
        await world.until_warm(1)
        [instance] = world.instances()
        assert dict(machine_of(world, instance).order.env) == {
            "PLAIN": "yes",
            "MODEL_KEY": "a-key",
            "XMTP_ENV": "dev",
            "INSTANCE_ID": instance.metadata.uid,
            "OPENCLAW_GATEWAY_TOKEN": content(world, instance)["token"],
        }

    tell(story)


def test_at_its_claim_the_token_of_the_launch_is_worth_nothing_any_more() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1)
        world.start()
        await world.until_warm(1)
        [idle] = world.instances()
        before, machine = content(world, idle), machine_of(world, idle)
        instance = await bound(world)
        await world.until(lambda: "next-token" not in content(world, instance), "its Secret holds one token")
        assert dict(content(world, instance)) == {"token": before["next-token"]}
        assert opens(world, machine, before["next-token"])
        assert not opens(world, machine, before["token"])
        await world.rest()
        made, changed = writes_to_secrets(world)
        assert (made, changed) == (2, 1)  # the second one is the replacement's

    tell(story)


def test_a_runtime_that_takes_up_no_token_keeps_the_one_that_it_has() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1)
        world.start()
        await world.until_warm(1)
        before = content(world, world.instances()[0])
        instance = await bound(world)
        await world.until(lambda: "next-token" not in content(world, instance), "its Secret holds one token")
        assert dict(content(world, instance)) == {"token": before["token"]}
        await world.rest()

    tell(story, habits=Habits(rotates=lambda _: False))


def test_a_protocol_without_rotation_costs_one_write() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, template={"protocol": "convos"})
        world.start()
        await world.until_warm(1)
        instance = await bound(world)
        await world.rest()
        assert list(content(world, instance)) == ["token"]
        assert writes_to_secrets(world) == (2, 0)

    tell(story, habits=Habits(rotates=lambda _: False))


@pytest.mark.parametrize("rotates", [True, False], ids=["that rotates", "that does not"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["create secrets .*", "provision .*", "patch agentclaims .*", "patch secrets .*"])
def test_after_a_death_at_any_step_the_next_controller_finds_out_which_token_counts(
    call: str, when: When, rotates: bool
) -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=2)
        world.start()
        world.doom(1, when, call)
        if not call.startswith("create"):
            await world.until_warm(1)
            world.create_claim("mine")
        await world.death()
        await asyncio.sleep(0.5)
        world.start()
        if call.startswith("create"):
            world.create_claim("mine")
        await world.until_phase("mine", ClaimPhase.BOUND)
        holder = world.holder("mine")
        assert holder is not None
        await world.until(lambda: "next-token" not in content(world, holder), "its Secret holds one token")
        assert opens(world, machine_of(world, holder), content(world, holder)["token"])
        assert len(world.programs.made) == 1
        await world.rest()

    tell(story, habits=Habits(rotates=lambda _: rotates))


def test_after_a_restart_tokens_are_read_before_a_claim_has_to_wait_for_them() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=4)
        world.start()
        await world.until_warm(4)
        await bound(world, "old")
        await world.rest()
        assert world.server.secret_reads == 0
        await world.restart()
        await asyncio.sleep(1.0)
        assert world.server.secret_reads == 5
        await bound(world)
        assert world.server.secret_reads == 5
        await asyncio.sleep(120.0)
        assert world.server.secret_reads == 5

    tell(story)


def test_a_secret_that_somebody_deleted_is_missed_at_the_next_start_only_and_then_named() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=1, maxTotal=3, health={"intervalSeconds": 5, "failureThreshold": 2})
        world.start()
        await world.until_warm(1)
        held = await bound(world)
        await asyncio.sleep(30.0)
        [idle] = world.instances(InstancePhase.IDLE)
        world.server.owned_secrets.clear()
        await asyncio.sleep(60.0)
        assert {i.metadata.name for i in world.instances(InstancePhase.IDLE)} == {idle.metadata.name}
        await world.restart()
        await world.until(lambda: world.server.find(AgentInstance, idle.metadata.name) is None, "it is replaced")
        claim = world.claim("mine")
        await world.until(
            lambda: (
                f"Secret {held.metadata.name}-token in namespace default is gone"
                in (world.claim("mine").status.message or "")
            ),
            "its claim says which Secret is gone",
        )
        assert claim.status.phase is ClaimPhase.BOUND
        await world.until_warm(1)
        world.delete(AgentClaim, "mine")
        await world.rest()

    tell(story)


def test_a_secret_that_is_restored_brings_its_instance_back() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=0, maxTotal=1, health={"intervalSeconds": 5, "failureThreshold": 2})
        world.start()
        held = await bound(world)
        await asyncio.sleep(5.0)
        backup = dict(world.server.owned_secrets)
        world.server.owned_secrets.clear()
        await world.restart()
        await world.until(lambda: len(world.instances(InstancePhase.CRASHED)) == 1, "it is not well")
        world.server.owned_secrets.update(backup)
        await world.until(lambda: len(world.instances(InstancePhase.CLAIMED)) == 1, "it is well again")
        assert world.instances()[0].metadata.uid == held.metadata.uid
        await world.rest()

    tell(story)


def test_a_secret_of_somebody_else_under_its_name_is_not_taken_for_its_own() -> None:
    async def story(world: World) -> None:
        def squat(change: Change) -> None:
            if isinstance(change.thing, AgentInstance) and change.type == "ADDED" and not world.server.secrets:
                world.server.secrets[NAMESPACE, f"{change.thing.metadata.name}-token"] = {"token": "known to others"}

        world.server.observers.append(squat)
        world.create_pool(minIdle=1, maxTotal=1, startup={"deadlineSeconds": 600})
        world.start()
        await world.until(lambda: bool(world.instances(InstancePhase.STARTING)), "it says why it is not launched")
        [instance] = world.instances()
        assert "belongs to something else than this instance" in (instance.status.message or "")
        assert not world.machines.all
        world.server.secrets.clear()
        await world.until_warm(1)
        assert machine_of(world, instance).token == content(world, instance)["token"]

    tell(story)


def test_instances_of_an_earlier_version_go_on_with_the_token_that_they_were_launched_with() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=2, maxTotal=4)
        world.start()
        await world.until_warm(2)
        # As the earlier version left them: without Secrets, and with tokens that follow from its key.
        await world.rest()
        world.process.die()
        await world.process.buried()
        world.server.owned_secrets.clear()
        for machine in world.machines.all:
            env = {**machine.order.env, "OPENCLAW_GATEWAY_TOKEN": FORMER.token(machine.uid)}
            object.__setattr__(machine.order, "env", env)
        world.start()
        await world.until(lambda: len(world.server.owned_secrets) == 2, "each has a Secret")
        for instance in world.instances():
            assert content(world, instance)["token"] == FORMER.token(instance.metadata.uid)
        await bound(world)
        await world.rest()
        assert {machine.uid for machine in world.machines.all} >= {i.metadata.uid for i in world.instances()}
        assert not any(machine.exited for machine in world.machines.all)

    tell(story, former_key=FORMER)


def test_a_lost_secret_of_an_instance_of_this_version_is_not_made_up_from_the_former_key() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=0, maxTotal=1, health={"intervalSeconds": 5, "failureThreshold": 2})
        world.start()
        held = await bound(world)
        await asyncio.sleep(5.0)
        world.server.owned_secrets.clear()
        await world.restart()
        await world.until(lambda: len(world.instances(InstancePhase.CRASHED)) == 1, "it is not well")
        assert f"Secret {held.metadata.name}-token in namespace default is gone" in (
            world.instances()[0].status.message or ""
        )
        assert not world.server.owned_secrets

    tell(story, former_key=FORMER)


def test_nobody_gets_the_key_of_an_earlier_version_by_naming_its_secret() -> None:
    async def story(world: World) -> None:
        world.server.secrets[NAMESPACE, "agentpool-installation"] = {"id": "an-id", "key": "the-key"}
        reference = {"secretKeyRef": {"name": "agentpool-installation", "key": "key"}}
        world.create_pool("curious", minIdle=1, template={"env": [{"name": "KEY", "valueFrom": reference}]})
        world.create_pool(minIdle=1, maxTotal=2)
        world.start()
        world.create_claim("mine", instructionsFrom=reference)
        said = "Secret agentpool-installation is for the operator only"
        await world.until(lambda: said in (world.claim("mine").status.message or ""), "the claim says so")

        def last_failure() -> str:
            breaker = world.server.read(AgentPool, NAMESPACE, "curious").status.circuit_breaker
            return (breaker.last_failure or "") if breaker is not None else ""

        await world.until(lambda: said in last_failure(), "the pool says so")
        assert {machine.order.pool for machine in world.machines.all} == {"agents"}
        assert not world.programs.made

    tell(story)


def test_two_controllers_at_once_agree_on_every_token() -> None:
    async def story(world: World) -> None:
        world.create_pool(minIdle=3, maxTotal=6)
        world.start()
        world.start()
        await asyncio.sleep(10.0)
        for number in range(3):
            world.create_claim(f"claim-{number}")
        for number in range(3):
            await world.until_phase(f"claim-{number}", ClaimPhase.BOUND)
        world.processes[0].die()
        await world.processes[0].buried()
        await world.rest()

    tell(story)


def test_what_an_order_brings_is_shown_by_no_repr() -> None:
    assert "secret" not in repr(ProvisionOrder("key", "Ada", "x", next_token="the-secret"))
