"""Standing by, leading, stepping down: whoever is elected, on a clock that jumps."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from prometheus_client import REGISTRY

from controller import metrics
from controller.core.election import Terms
from controller.errors import Transient
from controller.kube.lease import Sole
from controller.ports import Fence
from tests.doubles import virtualtime
from tests.ha.leases import Process, Store, real

TERMS = Terms(duration_seconds=8, renew_seconds=2, poll_seconds=0.5, margin_seconds=2)


def plays(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test in virtual time."""

    def test() -> None:
        virtualtime.run(story())

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


async def one_leads() -> tuple[Store, Process, Process]:
    store = Store()
    leader, standby = Process("leader", store, TERMS), Process("standby", store, TERMS, offset=5e5)
    leader.start()
    await asyncio.sleep(0.1)
    standby.start()
    await asyncio.sleep(1.0)
    assert (leader.working, standby.working) == (True, False)
    return store, leader, standby


async def until(condition: Callable[[], bool]) -> float:
    """Seconds until it holds."""
    began = real()
    while not condition():
        await asyncio.sleep(0.001)
        assert real() < began + 60.0
    return real() - began


@plays
async def test_the_first_one_leads_at_once_and_the_next_one_stands_by_and_says_for_whom() -> None:
    _, leader, standby = await one_leads()
    assert leader.told == []
    assert standby.told[-1] == (True, "standby: leader leads")
    await leader.end()
    await standby.end()


@plays
async def test_the_lead_is_kept_for_as_long_as_all_is_well() -> None:
    store, leader, standby = await one_leads()
    await asyncio.sleep(3600.0)
    assert (leader.working, leader.terms, standby.terms) == (True, 1, 0)
    assert store.record is not None
    assert store.record.transitions == 0
    await leader.end()
    await standby.end()


@plays
async def test_after_a_clean_stop_another_one_leads_after_one_look() -> None:
    _, leader, standby = await one_leads()
    await leader.end()
    assert not leader.working
    assert await until(lambda: standby.working) < TERMS.poll_seconds + 0.1
    await standby.end()


@plays
async def test_a_stop_while_a_renewal_is_on_its_way_gives_the_lease_up_all_the_same() -> None:
    store, leader, standby = await one_leads()
    before = store.versions
    leader.way.delay = (0.3, 0.3)
    await until(lambda: store.versions > before)
    await leader.end()
    assert await until(lambda: standby.working) < TERMS.poll_seconds + 0.1
    await standby.end()


@plays
async def test_after_a_crash_another_one_leads_when_the_lease_has_run_out() -> None:
    _, leader, standby = await one_leads()
    leader.way.cut = True
    assert TERMS.writing_seconds < await until(lambda: standby.working) < TERMS.duration_seconds + TERMS.poll_seconds
    leader.way.cut = False
    await leader.end()
    await standby.end()


@plays
async def test_a_leader_that_cannot_renew_has_stopped_before_another_one_leads_and_stands_by_again() -> None:
    _, leader, standby = await one_leads()
    leader.way.cut = True
    await until(lambda: not leader.may_write())
    await until(lambda: not leader.working)
    assert not standby.may_write()
    await until(lambda: standby.working)
    leader.way.cut = False
    await until(lambda: leader.told[-1:] == [(True, "standby: standby leads")])
    await standby.end()
    await until(lambda: leader.working)
    assert leader.terms == 2
    await leader.end()


@plays
async def test_an_api_server_that_is_away_for_less_than_the_writing_time_changes_nothing() -> None:
    _, leader, standby = await one_leads()
    leader.way.cut = standby.way.cut = True
    await asyncio.sleep(3.0)
    leader.way.cut = standby.way.cut = False
    await asyncio.sleep(30.0)
    assert (leader.working, leader.terms, standby.terms) == (True, 1, 0)
    await leader.end()
    await standby.end()


@plays
async def test_answers_that_are_lost_do_not_cost_the_lead() -> None:
    _, leader, standby = await one_leads()
    leader.way.unanswered = 0.5
    await asyncio.sleep(5.0)
    leader.way.unanswered = 0.0
    await asyncio.sleep(30.0)
    assert leader.terms == 1
    await leader.end()
    await standby.end()


@plays
async def test_a_leader_that_was_stopped_past_its_lease_finds_its_fence_closed_and_stands_by() -> None:
    _, leader, standby = await one_leads()
    fence = leader.fence
    assert fence is not None
    fence()
    leader.runs.clear()
    await until(lambda: standby.working)
    with pytest.raises(Transient, match="does not lead any more"):
        fence()
    leader.runs.set()
    await until(lambda: not leader.working)
    await until(lambda: leader.told[-1:] == [(True, "standby: standby leads")])
    await standby.end()
    await until(lambda: leader.working)
    with pytest.raises(Transient):
        fence()  # that of a former term stays closed
    await leader.end()


@plays
async def test_the_lease_is_given_up_only_when_the_work_is_over() -> None:
    store = Store()
    process = Process("one", store, TERMS)
    seen: list[str] = []

    async def work(fence: Fence) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(20.0)
            assert store.record is not None
            seen.append(store.record.holder)

    task = asyncio.get_running_loop().create_task(process.elected.lead(work))
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait({task})
    assert seen == ["one"]
    assert store.record is not None
    assert store.record.holder == ""


@plays
async def test_work_that_breaks_gives_the_lead_up_and_says_how() -> None:
    store = Store()
    process = Process("one", store, TERMS)

    async def work(fence: Fence) -> None:
        raise LookupError("a mistake")

    with pytest.raises(ExceptionGroup) as caught:
        await process.elected.lead(work)
    assert caught.group_contains(LookupError, match="a mistake")
    assert store.record is not None
    assert store.record.holder == ""


@plays
async def test_whoever_cannot_reach_the_lease_says_so_and_stands_by_once_it_can() -> None:
    store, process = Store(), Process("one", Store(), TERMS)
    process.way.cut = True
    process.start()
    await until(lambda: process.told != [])
    well, sentence = process.told[-1]
    assert not well
    assert "cannot be read or taken" in sentence
    process.way.cut = False
    await until(lambda: process.working)
    assert store.record is None
    await process.end()


@plays
async def test_of_many_that_wait_exactly_one_leads() -> None:
    store = Store()
    processes = [Process(f"p{number}", store, TERMS, offset=number * 1000.0) for number in range(12)]
    for process in processes:
        process.start()
    await asyncio.sleep(2.0)
    for _ in range(4):
        (leader,) = [process for process in processes if process.working]
        await leader.end()
        processes.remove(leader)
        await asyncio.sleep(1.0)
    assert sum(process.working for process in processes) == 1
    for process in processes:
        await process.end()


@plays
async def test_the_only_process_there_is_leads_at_once_and_its_fence_is_open() -> None:
    async def work(fence: Fence) -> None:
        fence()
        assert REGISTRY.get_sample_value("agentpool_leader") == 1

    await Sole().lead(work)
    assert REGISTRY.get_sample_value("agentpool_leader") == 0


@plays
async def test_who_leads_and_how_often_that_changed_can_be_seen_and_pools_of_a_former_leader_cannot() -> None:
    def transitions() -> float:
        return REGISTRY.get_sample_value("agentpool_leader_transitions_total") or 0.0

    before, process = transitions(), Process("one", Store(), TERMS)
    process.start()
    await asyncio.sleep(1.0)
    assert REGISTRY.get_sample_value("agentpool_leader") == 1
    metrics.POOL_MIN_IDLE.labels("default", "agents").set(3)
    await process.end()
    assert REGISTRY.get_sample_value("agentpool_leader") == 0
    assert transitions() == before + 2
    assert REGISTRY.get_sample_value("agentpool_pool_min_idle", {"namespace": "default", "pool": "agents"}) is None
