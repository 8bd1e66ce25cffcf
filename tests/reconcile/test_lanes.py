"""Two lanes to the API server: what a person waits for goes first."""

import asyncio
from collections import Counter
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reconcile.lanes import Lanes
from tests.reconcile.clockwork import cancelled, in_virtual_time, settled

Lane = Literal["urgent", "background"]


class Traffic:
    """Requests that note when they were let through."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.began: dict[str, float] = {}
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def request(self, name: str, lane: Lane, seconds: float = 1.0) -> None:
        async with self.lanes.urgent() if lane == "urgent" else self.lanes.background():
            self.began[name] = round(asyncio.get_running_loop().time(), 6)
            self.under_way[lane] += 1
            self.most[lane] = max(self.most[lane], self.under_way[lane])
            try:
                await asyncio.sleep(seconds)
            finally:
                self.under_way[lane] -= 1

    def send(self, name: str, lane: Lane, seconds: float = 1.0) -> "asyncio.Task[None]":
        return asyncio.ensure_future(self.request(name, lane, seconds))


def traffic(
    *, urgent: int = 2, background: int = 2, trickle: int = 1, patience: float = 5.0, grace: float = 0.0
) -> Traffic:
    return Traffic(Lanes(urgent=urgent, background=background, trickle=trickle, patience=patience, grace=grace))


@in_virtual_time
async def test_background_requests_leave_a_claim_the_time_for_its_next_step() -> None:
    flow = traffic(grace=0.5)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.request("bind", "urgent", 1))
        tasks.create_task(flow.request("create", "background"))
        await asyncio.sleep(1.25)
        await flow.request("status", "urgent", 1)
    assert flow.began == {"bind": 0, "status": 1.25, "create": 2.75}


@pytest.mark.parametrize("lane", ["urgent", "background"])
@in_virtual_time
async def test_each_lane_lets_so_many_through_at_once_first_come_first_served(lane: Lane) -> None:
    flow = traffic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(flow.request(str(number), lane))
    assert flow.began == {"0": 0, "1": 0, "2": 1, "3": 1, "4": 2}


@in_virtual_time
async def test_background_requests_wait_while_something_urgent_is_under_way() -> None:
    flow = traffic()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.request("bind", "urgent", 3))
        tasks.create_task(flow.request("create", "background"))
    assert flow.began == {"bind": 0, "create": 3}


@in_virtual_time
async def test_urgent_requests_never_wait_for_background_ones() -> None:
    flow = traffic()
    async with asyncio.TaskGroup() as tasks:
        for name in ("create", "delete"):
            tasks.create_task(flow.request(name, "background", 60))
        await asyncio.sleep(1)
        tasks.create_task(flow.request("bind", "urgent"))
    assert flow.began["bind"] == 1


@in_virtual_time
async def test_under_steady_urgent_traffic_background_requests_trickle_through_once_their_patience_is_over() -> None:
    flow = traffic(urgent=2, trickle=1, patience=5)
    async with asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(flow.request(f"bind-{number}", "urgent"))
        for number in range(3):
            tasks.create_task(flow.request(f"create-{number}", "background"))
    assert [flow.began[f"create-{number}"] for number in range(3)] == [5, 6, 7]


@in_virtual_time
async def test_once_nothing_urgent_is_left_the_background_lane_is_as_wide_as_ever() -> None:
    flow = traffic(background=3, trickle=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(flow.request("bind", "urgent", 2))
        for number in range(3):
            tasks.create_task(flow.request(f"create-{number}", "background"))
    assert set(flow.began.values()) == {0, 2}
    assert flow.most["background"] == 3


@pytest.mark.parametrize("lane", ["urgent", "background"])
@in_virtual_time
async def test_a_request_that_is_cancelled_under_way_gives_its_place_back(lane: Lane) -> None:
    flow = traffic(urgent=1, background=1)
    first = flow.send("first", lane, 60)
    await settled()
    second = flow.send("second", lane)
    await asyncio.sleep(1)
    await cancelled(first)
    await second
    assert flow.began["second"] == 1


@pytest.mark.parametrize("lane", ["urgent", "background"])
@in_virtual_time
async def test_a_request_that_is_cancelled_while_it_waits_does_not_take_a_place(lane: Lane) -> None:
    flow = traffic(urgent=1, background=1)
    first = flow.send("first", lane, 2)
    await settled()
    second, third = flow.send("second", lane), flow.send("third", lane)
    await settled()
    await cancelled(second)
    await third
    await first
    assert flow.began == {"first": 0, "third": 2}


@pytest.mark.parametrize("lane", ["urgent", "background"])
@in_virtual_time
async def test_a_waiting_request_that_is_cancelled_in_the_moment_in_which_a_place_falls_free_lets_the_next_one_have_it(
    lane: Lane,
) -> None:
    flow = traffic(urgent=1, background=1)
    gate = asyncio.Event()

    async def holder() -> None:
        async with flow.lanes.urgent() if lane == "urgent" else flow.lanes.background():
            await gate.wait()

    first = asyncio.ensure_future(holder())
    await settled()
    second, third = flow.send("second", lane), flow.send("third", lane)
    await settled()
    gate.set()
    second.cancel()
    await first
    await third
    assert second.cancelled()
    assert flow.began == {"third": 0}


@pytest.mark.parametrize("lane", ["urgent", "background"])
@in_virtual_time
async def test_a_request_that_is_cancelled_in_the_moment_in_which_it_is_let_through_gives_its_place_back(
    lane: Lane,
) -> None:
    flow = traffic(urgent=1, background=1)
    gate = asyncio.Event()

    async def holder(cancel: "list[asyncio.Task[None]]") -> None:
        async with flow.lanes.urgent() if lane == "urgent" else flow.lanes.background():
            await gate.wait()
        for task in cancel:
            task.cancel()

    doomed: list[asyncio.Task[None]] = []
    first = asyncio.ensure_future(holder(doomed))
    await settled()
    second, third = flow.send("second", lane), flow.send("third", lane)
    doomed.append(second)
    await settled()
    gate.set()
    await first
    await third
    assert second.cancelled()
    assert flow.began == {"third": 0}


@in_virtual_time
async def test_a_request_that_fails_gives_its_place_back() -> None:
    flow = traffic(urgent=1)
    with pytest.raises(ZeroDivisionError):
        async with flow.lanes.urgent():
            raise ZeroDivisionError
    await flow.request("next", "urgent")
    assert flow.began == {"next": 0}


STEPS = st.lists(
    st.tuples(st.sampled_from(["urgent", "background"]), st.integers(0, 4), st.integers(0, 6), st.booleans()),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(STEPS)
@in_virtual_time
async def test_whatever_is_sent_and_cancelled_no_place_is_lost_and_no_lane_is_overfull(
    steps: list[tuple[Lane, int, int, bool]],
) -> None:
    flow = traffic(urgent=2, background=3, trickle=1, patience=2)
    sent: list[asyncio.Task[None]] = []
    for number, (lane, pause, seconds, cancel) in enumerate(steps):
        sent.append(flow.send(str(number), lane, seconds))
        await asyncio.sleep(pause)
        if cancel:
            sent[number // 2].cancel()
    await asyncio.gather(*sent, return_exceptions=True)
    assert all(task.cancelled() or task.exception() is None for task in sent)
    assert (flow.most["urgent"] <= 2, flow.most["background"] <= 3) == (True, True)
    later = [flow.send(f"later-{lane}-{n}", lane) for lane, n in (("urgent", 0), ("urgent", 1))]  # type: ignore[arg-type]
    await asyncio.gather(*later)
    start = asyncio.get_running_loop().time()
    await asyncio.gather(*(flow.request(f"after-{number}", "background") for number in range(3)))
    assert asyncio.get_running_loop().time() == start + 1
