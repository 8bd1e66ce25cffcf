"""The queue: keyed and single-flight."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from controller.reconcile.keys import Key, bind_key, claim_key, pool_key
from controller.reconcile.queue import KeyedQueue
from tests.reconcile.clockwork import cancelled, in_virtual_time, settled

A, B = claim_key("default", "a"), claim_key("default", "b")


class Passes:
    """Passes that take some time and note when they began and ended."""

    def __init__(self, seconds: float = 1.0, again: float | None = None) -> None:
        self.seconds = seconds
        self.again = again
        self.began: list[tuple[str, float]] = []
        self.under_way: list[str] = []
        self.overlapped = False
        self.during: Callable[[Key], object] = lambda key: None
        self.queue = KeyedQueue(self.run)

    async def run(self, key: Key) -> float | None:
        self.overlapped |= key.name in self.under_way
        self.under_way.append(key.name)
        self.began.append((key.name, asyncio.get_running_loop().time()))
        self.during(key)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way.remove(key.name)
        return self.again

    def times(self, name: str = "a") -> list[float]:
        return [round(time, 6) for key, time in self.began if key == name]


@asynccontextmanager
async def running(passes: Passes, *, released: bool = True) -> AsyncIterator[KeyedQueue]:
    task = asyncio.ensure_future(passes.queue.run())
    await settled()
    if released:
        passes.queue.release()
    try:
        yield passes.queue
    finally:
        await cancelled(task)


@in_virtual_time
async def test_a_key_is_run_at_once_and_once() -> None:
    passes = Passes()
    async with running(passes) as queue:
        queue.add(A)
        await asyncio.sleep(10)
        assert (passes.times(), len(queue)) == ([0], 0)


@in_virtual_time
async def test_different_keys_run_side_by_side() -> None:
    passes = Passes()
    async with running(passes) as queue:
        queue.add(A)
        queue.add(B)
        await settled()
        assert (passes.under_way, len(queue)) == (["a", "b"], 2)


@in_virtual_time
async def test_a_key_is_never_in_two_passes_and_what_happens_meanwhile_makes_it_run_once_more() -> None:
    passes = Passes()
    async with running(passes) as queue:
        for _ in range(3):
            queue.add(A)
        await asyncio.sleep(0.5)
        for _ in range(3):
            queue.add(A)
        await asyncio.sleep(10)
        assert passes.times() == [0, 1]
        assert not passes.overlapped


@in_virtual_time
async def test_what_happens_before_the_first_step_of_a_pass_still_makes_it_run_again() -> None:
    passes = Passes()
    async with running(passes) as queue:
        queue.add(A)
        queue.add(A)
        await asyncio.sleep(10)
        assert passes.times() == [0, 1]


@in_virtual_time
async def test_what_a_pass_itself_adds_of_its_own_key_does_not_run_it_again() -> None:
    passes = Passes()
    passes.during = passes.queue.add
    async with running(passes) as queue:
        queue.add(A)
        await asyncio.sleep(10)
        assert passes.times() == [0]


@in_virtual_time
async def test_what_a_pass_adds_of_another_key_runs_that_one() -> None:
    passes = Passes()
    passes.during = lambda key: passes.queue.add(B) if key == A else None
    async with running(passes) as queue:
        queue.add(A)
        await asyncio.sleep(10)
        assert (passes.times("a"), passes.times("b")) == ([0], [0])


@in_virtual_time
async def test_a_task_that_a_pass_set_going_makes_it_run_again() -> None:
    passes = Passes()
    async with asyncio.TaskGroup() as tasks:

        async def write(key: Key) -> None:
            await asyncio.sleep(0.5)
            passes.queue.add(key)

        passes.during = lambda key: tasks.create_task(write(key)) if len(passes.began) == 1 else None
        async with running(passes) as queue:
            queue.add(A)
            await asyncio.sleep(10)
            assert passes.times() == [0, 1]


@in_virtual_time
async def test_a_key_that_is_added_for_later_runs_then() -> None:
    passes = Passes()
    async with running(passes) as queue:
        queue.add_after(A, 3)
        await asyncio.sleep(2.9)
        assert passes.times() == []
        await asyncio.sleep(10)
        assert passes.times() == [3]


@pytest.mark.parametrize("waits", [(5, 2), (2, 5), (2, 2)], ids=["the later first", "the earlier first", "the same"])
@in_virtual_time
async def test_of_several_times_only_the_earliest_counts(waits: tuple[float, float]) -> None:
    passes = Passes()
    async with running(passes) as queue:
        for seconds in waits:
            queue.add_after(A, seconds)
        await asyncio.sleep(20)
        assert passes.times() == [2]


@in_virtual_time
async def test_an_event_runs_a_key_before_its_time_and_the_time_is_forgotten() -> None:
    passes = Passes(again=None)
    async with running(passes) as queue:
        queue.add_after(A, 5)
        await asyncio.sleep(1)
        queue.add(A)
        await asyncio.sleep(20)
        assert passes.times() == [1]


@in_virtual_time
async def test_a_time_that_comes_during_a_pass_makes_the_key_run_again_after_it() -> None:
    passes = Passes(seconds=4)
    async with running(passes) as queue:
        queue.add(A)
        queue.add_after(A, 2)
        await asyncio.sleep(20)
        assert passes.times() == [0, 4]


@in_virtual_time
async def test_a_pass_that_asks_to_be_looked_at_again_is() -> None:
    passes = Passes(seconds=1, again=2)
    async with running(passes) as queue:
        queue.add(A)
        await asyncio.sleep(8)
        assert passes.times() == [0, 3, 6]


@in_virtual_time
async def test_keys_with_many_times_run_in_the_order_of_their_times() -> None:
    passes = Passes(seconds=0)
    keys = {name: claim_key("default", name) for name in "abcde"}
    async with running(passes) as queue:
        for name, seconds in zip("abcde", (5, 1, 4, 2, 3), strict=True):
            queue.add_after(keys[name], seconds)
        await asyncio.sleep(10)
        assert passes.began == [("b", 1), ("d", 2), ("e", 3), ("c", 4), ("a", 5)]


@in_virtual_time
async def test_a_time_in_the_past_means_at_once() -> None:
    passes = Passes()
    async with running(passes) as queue:
        queue.add_after(A, -5)
        await asyncio.sleep(1)
        assert passes.times() == [0]


@in_virtual_time
async def test_keys_are_held_until_the_view_is_complete() -> None:
    passes = Passes()
    passes.queue.add(A)
    async with running(passes, released=False) as queue:
        queue.add(B)
        queue.add(B)
        await asyncio.sleep(5)
        assert (passes.began, len(queue)) == ([], 2)
        queue.release()
        await asyncio.sleep(5)
        assert sorted(passes.began) == [("a", 5), ("b", 5)]


@in_virtual_time
async def test_a_release_before_the_queue_runs_counts() -> None:
    passes = Passes()
    passes.queue.add(A)
    passes.queue.release()
    async with running(passes, released=False):
        await asyncio.sleep(1)
        assert passes.times() == [0]


@in_virtual_time
async def test_keys_of_different_kinds_do_not_stand_in_each_others_way() -> None:
    passes = Passes()
    async with running(passes) as queue:
        queue.add(pool_key("default", "a"))
        queue.add(bind_key("default", "a"))
        await settled()
        assert passes.under_way == ["a", "a"]


@in_virtual_time
async def test_cancelling_the_queue_ends_the_passes_that_are_under_way() -> None:
    passes = Passes()
    task = asyncio.ensure_future(passes.queue.run())
    passes.queue.release()
    await settled()
    passes.queue.add(A)
    await settled()
    await cancelled(task)
    assert (passes.under_way, task.cancelled()) == ([], True)


@in_virtual_time
async def test_a_queue_that_is_cancelled_while_keys_are_to_run_again_ends_quietly() -> None:
    passes = Passes()
    task = asyncio.ensure_future(passes.queue.run())
    passes.queue.release()
    await settled()
    passes.queue.add(A)
    await settled()
    passes.queue.add(A)
    await cancelled(task)
    assert (passes.times(), task.cancelled()) == ([0], True)


@in_virtual_time
async def test_after_the_end_events_are_held_and_what_was_due_is_forgotten() -> None:
    passes = Passes()
    async with running(passes) as queue:
        queue.add_after(B, 2)
    queue.add(A)
    await asyncio.sleep(5)
    assert passes.began == []
    async with running(passes):
        await asyncio.sleep(5)
        assert passes.began == [("a", 5)]


@in_virtual_time
async def test_a_pass_during_which_others_come_and_go_is_not_disturbed() -> None:
    passes = Passes(seconds=3)
    slow: list[str] = []

    async def run(key: Key) -> float | None:
        await (asyncio.sleep(9) if key == A else asyncio.sleep(0.1))
        slow.append(key.name)
        return None

    queue = passes.queue = KeyedQueue(run)
    async with running(passes):
        queue.add(A)
        for _ in range(5):
            queue.add(B)
            await asyncio.sleep(1)
        await asyncio.sleep(10)
        assert slow == ["b", "b", "b", "b", "b", "a"]
