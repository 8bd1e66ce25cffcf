"""Which keys a change concerns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.core.instance import LaunchTrouble
from controller.model import Resource
from controller.reconcile.facts import Facts
from controller.reconcile.keys import Key
from controller.reconcile.places import Places
from controller.reconcile.queue import KeyedQueue
from controller.reconcile.routes import Routes
from controller.reconcile.view import View
from tests.core.builders import NOW, POOL, at, claim, instance, pool
from tests.reconcile.clockwork import cancelled, in_virtual_time, settled

IDLE = {"phase": "Idle", "readyAt": at(-60)}


class Traffic:
    """A view, and the passes that its changes cause."""

    def __init__(self) -> None:
        self.view, self.facts = View(), Facts()
        self.passes: list[tuple[str, float]] = []
        self.queue = KeyedQueue(self.run)
        self.routes = Routes(self.view, Places(self.view), self.facts, self.queue)
        self.versions = 100

    async def run(self, key: Key) -> float | None:
        self.passes.append((f"{key.kind} {key.name}", asyncio.get_running_loop().time()))
        return None

    def change(self, thing: Any, **meta: Any) -> None:
        """The object at its next version."""
        self.versions += 1
        update = {"resource_version": str(self.versions)} | meta
        assert self.view.learn(thing.model_copy(update={"metadata": thing.metadata.model_copy(update=update)}))

    async def caused(self) -> tuple[list[str], list[str]]:
        """What ran at once, in order, and what ran a little later."""
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        at_once = [name for name, time in self.passes if time == began]
        later = [name for name, time in self.passes if time > began]
        self.passes.clear()
        return at_once, later


@asynccontextmanager
async def knowing(*things: Resource) -> AsyncIterator[Traffic]:
    """A queue that runs, on a view that knows these things already."""
    traffic = Traffic()
    for thing in things:
        traffic.view.learn(thing)
    task = asyncio.ensure_future(traffic.queue.run())
    traffic.queue.release()
    await traffic.caused()
    traffic.passes.clear()
    try:
        yield traffic
    finally:
        await cancelled(task)


@in_virtual_time
async def test_a_new_claim_is_bound_first_and_counted_later() -> None:
    async with knowing(pool()) as traffic:
        traffic.change(claim("wish"))
        assert await traffic.caused() == (["bind helpers", "claim wish"], ["pool helpers"])


@in_virtual_time
async def test_a_burst_of_claims_is_one_binding_pass_and_one_count() -> None:
    async with knowing(pool()) as traffic:
        for number in range(50):
            traffic.change(claim(f"wish-{number}"))
        at_once, later = await traffic.caused()
        assert at_once.count("bind helpers") <= 2
        assert sum(name.startswith("claim ") for name in at_once) == 50
        assert later == ["pool helpers"]


@in_virtual_time
async def test_an_instance_that_becomes_idle_is_handed_out_at_once_where_claims_wait() -> None:
    async with knowing(pool(), instance(), claim("wish")) as traffic:
        traffic.change(instance(status=IDLE))
        assert await traffic.caused() == (["instance one", "bind helpers"], ["pool helpers"])


@in_virtual_time
async def test_an_instance_that_becomes_idle_is_only_counted_where_nobody_waits() -> None:
    async with knowing(pool(), instance()) as traffic:
        traffic.change(instance(status=IDLE))
        assert await traffic.caused() == (["instance one"], ["pool helpers"])


@in_virtual_time
async def test_an_instance_that_somebody_changed_at_its_backend_is_told_to_its_pool() -> None:
    drifted = {"type": "Drifted", "status": "True", "reason": "Drifted", "message": "it was changed"}
    async with knowing(pool(), instance(status=IDLE)) as traffic:
        traffic.change(instance(status=IDLE | {"conditions": [drifted]}))
        assert await traffic.caused() == (["instance one"], ["pool helpers"])


@in_virtual_time
async def test_a_pool_that_moves_to_another_network_names_the_claims_that_it_can_serve_no_more() -> None:
    joining = claim("wish", joinUrl="https://dev.convos.org/v2?i=abc")
    async with knowing(pool(template={"network": "dev"}), joining) as traffic:
        traffic.change(pool(template={"network": "production"}), generation=2)
        at_once, later = await traffic.caused()
        assert (sorted(at_once), later) == (["claim wish", "pool helpers"], [])


@in_virtual_time
async def test_a_binding_names_its_claim_its_instance_and_its_pool() -> None:
    async with knowing(pool(), instance(status=IDLE), claim("wish")) as traffic:
        traffic.change(instance(status=IDLE, claim="wish"))
        assert await traffic.caused() == (["claim wish", "instance one"], ["pool helpers"])


@pytest.mark.parametrize(
    "after",
    [
        instance(claim="wish", status=IDLE | {"phase": "Crashed"}),
        instance(claim="wish", status=IDLE, deleting=True),
        instance(claim="wish", status=IDLE | {"url": "http://127.0.0.1:1"}),
    ],
    ids=["crashes", "is deleted", "moves"],
)
@in_virtual_time
async def test_a_claim_hears_when_its_instance(after: Any) -> None:
    async with knowing(pool(), instance(claim="wish", status=IDLE), claim("wish")) as traffic:
        traffic.change(after)
        at_once, _ = await traffic.caused()
        assert "claim wish" in at_once


@in_virtual_time
async def test_a_claim_does_not_hear_of_every_word_that_its_instance_says() -> None:
    async with knowing(pool(), instance(claim="wish", status=IDLE), claim("wish")) as traffic:
        traffic.change(instance(claim="wish", status=IDLE | {"phase": "Claimed", "conversationId": "c"}))
        assert await traffic.caused() == (["instance one"], ["pool helpers"])


@in_virtual_time
async def test_an_instance_that_vanishes_is_told_to_its_claim_its_pool_and_the_sweep_of_its_backend() -> None:
    gone = instance(claim="wish", status=IDLE)
    async with knowing(pool(), gone, claim("wish")) as traffic:
        traffic.view.forget(gone)
        assert await traffic.caused() == (["claim wish", "orphans process"], ["pool helpers"])


@pytest.mark.parametrize(
    "after", [claim("wish", deleting=True), claim("wish", status={"phase": "Expired"})], ids=["deleted", "over"]
)
@in_virtual_time
async def test_an_instance_hears_when_its_claim_is(after: Any) -> None:
    async with knowing(pool(), instance(claim="wish", status=IDLE), claim("wish")) as traffic:
        traffic.change(after)
        at_once, _ = await traffic.caused()
        assert at_once == ["claim wish", "instance one"]


@in_virtual_time
async def test_a_claim_that_vanishes_ends_its_instance() -> None:
    async with knowing(pool(), instance(claim="wish", status=IDLE), claim("wish")) as traffic:
        traffic.view.forget(claim("wish"))
        assert await traffic.caused() == (["instance one"], [])


@in_virtual_time
async def test_a_waiting_claim_that_vanishes_is_told_to_its_pool() -> None:
    async with knowing(pool(), claim("wish")) as traffic:
        traffic.view.forget(claim("wish"))
        assert await traffic.caused() == ([], ["pool helpers"])


@in_virtual_time
async def test_a_place_in_the_queue_that_is_written_runs_no_pool() -> None:
    async with knowing(pool(), claim("wish", status={"phase": "Pending", "queuePosition": 4})) as traffic:
        traffic.change(claim("wish", status={"phase": "Pending", "queuePosition": 3}))
        assert await traffic.caused() == (["claim wish"], [])


@in_virtual_time
async def test_the_status_of_a_pool_names_nothing() -> None:
    async with knowing(pool(), instance(), claim("wish")) as traffic:
        traffic.change(pool(status={"idle": 4}))
        assert await traffic.caused() == ([], [])


@in_virtual_time
async def test_the_spec_of_a_pool_concerns_its_instances_and_the_claims_that_wait() -> None:
    others = (instance(status=IDLE), instance("two", claim="served", status=IDLE), claim("served"), claim("wish"))
    async with knowing(pool(), *others) as traffic:
        traffic.change(pool(minIdle=4), generation=2)
        at_once, later = await traffic.caused()
        assert sorted(at_once) == ["claim wish", "instance one", "instance two", "pool helpers"]
        assert later == []


@pytest.mark.parametrize("ending", ["marked", "gone"])
@in_virtual_time
async def test_the_deletion_of_a_pool_concerns_its_instances_and_the_claims_that_wait(ending: str) -> None:
    async with knowing(pool(), instance(), claim("wish")) as traffic:
        if ending == "marked":
            traffic.change(pool(deleting=True))
        else:
            traffic.view.forget(pool())
        at_once, _ = await traffic.caused()
        assert sorted(at_once) == ["claim wish", "instance one", "pool helpers"]


@in_virtual_time
async def test_an_instance_that_is_still_being_created_is_not_named() -> None:
    async with knowing(pool()) as traffic:
        traffic.view.begin_create(("default", POOL), "soon", "new-hash")
        traffic.change(pool(minIdle=4), generation=2)
        assert await traffic.caused() == (["pool helpers"], [])


@in_virtual_time
async def test_what_a_backend_tells_of_a_remote_concerns_its_instance() -> None:
    async with knowing(instance()) as traffic:
        known = traffic.facts.instances
        known["uid-one"].terminate_asked_at = NOW
        traffic.routes.remote_changed("uid-one")
        traffic.routes.remote_changed("uid-of-nobody")
        assert await traffic.caused() == (["instance one"], [])
        assert {uid: facts.terminate_asked_at for uid, facts in known.items()} == {"uid-one": None}


@in_virtual_time
async def test_a_list_of_a_backend_concerns_its_pools() -> None:
    async with knowing(pool()) as traffic:
        traffic.routes.backend_listed("another")
        assert await traffic.caused() == ([], [])
        traffic.routes.backend_listed("process")
        assert await traffic.caused() == (["pool helpers"], [])


@pytest.mark.parametrize(
    ("known", "waits"),
    [
        (instance(), True),
        (instance(status={"phase": "Starting"}), True),
        (instance(status=IDLE), False),
        (instance(deleting=True), False),
        (instance("another"), False),
    ],
    ids=["new", "starting", "launched meanwhile", "being deleted", "gone"],
)
@in_virtual_time
async def test_who_was_kept_from_its_launch_tries_at_once_if_it_still_waits(known: Any, waits: bool) -> None:
    async with knowing(known) as traffic:
        facts = traffic.facts.instances["uid-one"]
        facts.trouble = trouble = LaunchTrouble(NOW, 3, "PlanLimit", "it takes none")
        assert traffic.routes.launch_admitted("uid-one") is waits
        assert await traffic.caused() == (["instance one"] if waits else [], [])
        assert facts.trouble is (None if waits else trouble)


@pytest.mark.parametrize("thing", [pool(), instance(), claim()], ids=["pool", "instance", "claim"])
@in_virtual_time
async def test_the_facts_about_an_object_go_with_it(thing: Any) -> None:
    async with knowing(thing) as traffic:
        facts: Any = {"AgentPool": traffic.facts.pools, "AgentInstance": traffic.facts.instances}
        mine = facts.get(thing.kind_name, traffic.facts.claims)
        assert mine[thing.metadata.uid] is not None
        traffic.view.forget(thing)
        await settled()
        assert thing.metadata.uid not in mine


@in_virtual_time
async def test_a_claim_made_anew_under_an_old_name_is_bound_like_any_new_claim() -> None:
    async with knowing(pool(), claim("wish")) as traffic:
        traffic.change(claim("wish"), uid="second")
        at_once, later = await traffic.caused()
        assert at_once[0] == "bind helpers"
        assert later == ["pool helpers"]
