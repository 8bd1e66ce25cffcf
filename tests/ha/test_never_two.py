"""Never do two processes both believe that they may write: whatever the network, the calendars and the scheduler do,
as long as their clocks run at rates that differ by no more than the margin allows."""

import asyncio
import logging
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.election import Terms
from tests.doubles import virtualtime
from tests.ha.leases import Process, Store, Way, real

TERMS = Terms(duration_seconds=8, renew_seconds=2, poll_seconds=0.5, margin_seconds=2)
RATE = 0.12
"""How far from real time a clock may run: 2 s of 8 s allow (1 + r) / (1 - r) = 8 / 6, so r = 1/7."""


async def course(seed: int, rates: list[float], seconds: float) -> tuple[int, float]:
    """Minutes of trouble; answers how often anybody began to lead, and for how long somebody could write."""
    random, store = Random(seed), Store()
    processes = [
        Process(
            f"p{number}",
            store,
            TERMS,
            way=Way(
                Random(f"{seed} {number}"),
                delay=(0.001, random.choice((0.01, 0.5, 3.0))),
                lost=random.choice((0.0, 0.1)),
                unanswered=random.choice((0.0, 0.1)),
            ),
            rate=rate,
            offset=random.uniform(-1e6, 1e6),
        )
        for number, rate in enumerate(rates)
    ]
    for process in processes:
        process.start()
    writing, step = 0.0, 0.02
    while real() < seconds:
        await asyncio.sleep(step)
        able = [process.name for process in processes if process.may_write()]
        assert len(able) <= 1, f"at {real():.2f} {able} may both write"
        writing += step if able else 0.0
        if random.random() < 0.01:
            _trouble(random, processes, store)
    for process in processes:
        process.runs.set()
        await process.end()
    return sum(process.terms for process in processes), writing


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


def _trouble(random: Random, processes: list[Process], store: Store) -> None:
    leaders = [process for process in processes if process.may_write()]
    process = random.choice(leaders if leaders and random.random() < 0.7 else processes)
    loop, seconds = asyncio.get_running_loop(), random.uniform(0.5, 20.0)
    match random.randrange(4):
        case 0:  # SIGSTOP, SIGCONT
            process.runs.clear()
            loop.call_later(seconds, process.runs.set)
        case 1:  # a partition
            process.way.cut = True
            loop.call_later(seconds, setattr, process.way, "cut", False)
        case 2:  # a restart of what runs in the process: it stands for election anew
            assert process.task is not None
            process.task.cancel()
            loop.call_later(1.0, process.start)
        case _:  # somebody deletes the Lease that all of them have seen; but not again and again
            if store.deletions == 0 and all(process.elected.holder != "" for process in processes):
                store.delete()


@given(
    seed=st.integers(0, 10**9),
    rates=st.lists(st.sampled_from((1 - RATE, 1.0, 1 + RATE)), min_size=2, max_size=4),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_two_never_both_believe_that_they_may_write(seed: int, rates: list[float]) -> None:
    virtualtime.run(course(seed, rates, 80.0))


@pytest.mark.parametrize("seed", range(4))
def test_somebody_leads_again_and_again_all_the_same(seed: int) -> None:
    terms, writing = virtualtime.run(course(seed, [0.95, 1.0, 1.05], 300.0))
    assert terms >= 2
    assert writing > 60.0


def test_clocks_that_run_at_rates_beyond_the_margin_are_what_it_cannot_bear() -> None:
    """The bound is real: this is how the test above would fail."""

    async def story() -> None:
        store = Store()
        slow, fast = Process("slow", store, TERMS, rate=0.5), Process("fast", store, TERMS, rate=1.5)
        slow.start()
        await asyncio.sleep(0.5)
        fast.start()
        await asyncio.sleep(0.5)
        slow.way.cut = True
        await asyncio.sleep(6.5)
        assert slow.may_write()
        assert fast.may_write()
        await slow.end()
        await fast.end()

    virtualtime.run(story())
