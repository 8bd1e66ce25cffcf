"""A token's budget: never over a limit, fair by rank, and never starved."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.backends.railway.budget import HOUR, PLANS, SECOND, Budget, Limits, Priority
from controller.backends.railway.failures import Throttled
from controller.backends.railway.ratelimit import RateLimit
from tests.doubles import virtualtime

CLAIM, READ, CREATE = Priority
EVER = 100 * HOUR


def clock() -> float:
    return asyncio.get_running_loop().time()


def opened(hour: int = 1000, second: int = 10, settle: float = 0.0) -> Budget:
    return Budget(Limits(hour, second), clock=clock, sleep=asyncio.sleep, random=Random(1), settle=settle)


@dataclass
class Railway:
    """Counts requests where they arrive, and notes in which order turns came."""

    budget: Budget
    told: Callable[[], RateLimit] = RateLimit
    arrivals: list[float] = field(default_factory=list)
    turns: list[tuple[float, Priority, Any]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def ask(
        self, priority: Priority, name: Any = None, *, patience: float = EVER, way: float = 0.0, back: float = 0.0
    ) -> None:
        async with self.budget.turn(priority, patience=patience):
            self.turns.append((clock(), priority, name))
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            try:
                await asyncio.sleep(way)
                self.arrivals.append(clock())
                told = self.told()
                await asyncio.sleep(back)
                self.budget.learn(told)
            finally:
                self.under_way -= 1

    def count(self, since: float, until: float, priority: Priority | None = None) -> int:
        return sum(since <= when < until and priority in {None, rank} for when, rank, _ in self.turns)

    def most_within(self, seconds: float) -> int:
        """The most arrivals that any window of so many seconds holds."""
        times = sorted(self.arrivals)
        first = most = 0
        for last, time in enumerate(times):
            # A sum of floats is not exact.
            while times[first] <= time - seconds + 1e-6:
                first += 1
            most = max(most, last - first + 1)
        return most


async def together(work: Sequence[Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in work:
            tasks.create_task(each)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Wish:
    at: float
    priority: Priority
    way: float
    back: float
    cancelled_after: float | None


WISHES = st.builds(
    Wish,
    at=st.floats(0, 30) | st.sampled_from([0.0, 1.0, HOUR]),
    priority=st.sampled_from(Priority),
    way=st.floats(0, 3),
    back=st.floats(0, 3),
    cancelled_after=st.none() | st.floats(0, 40),
)


@settings(deadline=None)
@given(st.lists(WISHES, max_size=60), st.integers(10, 40), st.integers(1, 4), st.booleans())
def test_no_window_ever_holds_more_than_the_plan_allows_and_nobody_is_forgotten(
    wishes: list[Wish], hour: int, second: int, headers: bool
) -> None:
    async def main() -> None:
        budget = opened(hour, second)
        railway = Railway(budget)
        if headers:
            railway.told = lambda: RateLimit(limit=hour, remaining=hour - len(railway.arrivals), reset=HOUR)
        served = 0

        async def wish(it: Wish) -> None:
            nonlocal served
            await asyncio.sleep(it.at)
            with suppress(TimeoutError):
                async with asyncio.timeout(it.cancelled_after):
                    await railway.ask(it.priority, way=it.way, back=it.back)
                    served += 1
            served += it.cancelled_after is not None

        await together([wish(each) for each in wishes])
        assert railway.most_within(SECOND) <= second
        assert railway.most_within(HOUR) <= hour
        assert served >= len(wishes)
        assert budget.remaining >= 0
        await asyncio.sleep(HOUR + 2)
        assert budget.remaining == hour

    virtualtime.run(main())


@settings(deadline=None)
@given(st.lists(st.sampled_from(Priority), max_size=50), st.integers(1, 5))
def test_who_waits_is_served_by_rank_and_then_first_come(ranks: list[Priority], second: int) -> None:
    async def main() -> None:
        railway = Railway(opened(1000, second, settle=5.0))
        await together([railway.ask(rank, number) for number, rank in enumerate(ranks)])
        # Of those whose turn comes at the same moment, any may be the first to use it.
        order = [(rank, number) for _, rank, number in sorted(railway.turns)]
        assert order == sorted((rank, number) for number, rank in enumerate(ranks))

    virtualtime.run(main())


@settings(deadline=None, max_examples=30)
@given(
    st.integers(100, 300),
    st.integers(0, 299),
    st.lists(st.tuples(st.floats(0, 2 * HOUR), st.sampled_from(Priority), st.floats(0, 2)), max_size=200),
    st.floats(0, HOUR - 1),
)
def test_a_restart_in_the_middle_of_an_hour_goes_on_with_what_is_left_of_it(
    limit: int, used: int, wishes: list[tuple[float, Priority, float]], begun: float
) -> None:
    """The other side counts in fixed hours, of which one is under way and partly used."""

    async def main() -> None:
        counts = {0: min(used, limit)}

        def told() -> RateLimit:
            hour, since = divmod(clock() + begun, HOUR)
            counts[int(hour)] = counts.get(int(hour), 0) + 1
            return RateLimit(limit=limit, remaining=max(0, limit - counts[int(hour)]), reset=int(HOUR - since))

        railway = Railway(opened(10_000, 50), told)
        first_is_too_much = counts[0] == limit

        async def wish(at: float, rank: Priority, way: float) -> None:
            await asyncio.sleep(at)
            await railway.ask(rank, way=way, back=0.1)

        await together([wish(*each) for each in wishes])
        # That nothing is left, only the first answer can tell.
        assert max(counts.values()) <= limit + first_is_too_much

    virtualtime.run(main())


def test_creations_cannot_use_up_what_is_kept_for_claims_and_reads() -> None:
    async def main() -> None:
        railway = Railway(opened(100, 10))
        async with asyncio.TaskGroup() as tasks:
            creations = [tasks.create_task(railway.ask(CREATE)) for _ in range(200)]
            await asyncio.sleep(60)
            assert len(railway.turns) == 60
            began = clock()
            await together([railway.ask(READ) for _ in range(30)] + [railway.ask(CLAIM) for _ in range(10)])
            assert clock() - began < 5
            for each in creations:
                each.cancel()

    virtualtime.run(main())


def test_claims_may_use_whatever_is_left() -> None:
    async def main() -> None:
        railway = Railway(opened(100, 10))
        await together([railway.ask(CLAIM) for _ in range(100)])
        assert clock() < 11
        with pytest.raises(Throttled):
            await railway.ask(CLAIM, patience=60)

    virtualtime.run(main())


@pytest.mark.parametrize("plan", ["Free", "Hobby"])
def test_endless_reads_and_claims_starve_no_creation(plan: str) -> None:
    async def main() -> None:
        limits = PLANS[plan]
        railway = Railway(opened(limits.hour, limits.second))

        async def endless(rank: Priority, pause: float) -> None:
            while clock() < 3 * HOUR:
                await railway.ask(rank, way=0.05, back=0.05)
                await asyncio.sleep(pause)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(endless(READ, 0.0))
            tasks.create_task(endless(CREATE, 0.0))
            tasks.create_task(endless(CLAIM, HOUR / (limits.hour * 0.1)))
        for hour in range(3):
            assert railway.count(hour * HOUR, (hour + 1) * HOUR, CREATE) >= limits.hour * 0.25
            assert railway.count(hour * HOUR, (hour + 1) * HOUR, READ) >= limits.hour * 0.25
            assert railway.count(hour * HOUR, (hour + 1) * HOUR, CLAIM) >= limits.hour * 0.08

    virtualtime.run(main())


def test_the_stricter_of_plan_and_headers_counts() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        railway = Railway(budget, lambda: RateLimit(limit=100, remaining=40, reset=600))
        await railway.ask(READ)
        assert budget.remaining == 40
        railway.told = lambda: RateLimit(limit=100_000, remaining=90_000, reset=600)
        await asyncio.sleep(700)
        await railway.ask(READ)
        assert budget.remaining == 998

    virtualtime.run(main())


def test_a_limit_of_another_window_is_not_taken_for_that_of_the_hour() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        railway = Railway(budget, lambda: RateLimit(limit=10, remaining=9, reset=0))
        await railway.ask(READ)
        await asyncio.sleep(2)
        assert budget.remaining == 999

    virtualtime.run(main())


def test_an_answer_that_was_overtaken_gives_nothing_back() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        await Railway(budget).ask(READ)
        async with budget.turn(READ, patience=1), budget.turn(READ, patience=1):
            budget.learn(RateLimit(remaining=50, reset=600))
            budget.learn(RateLimit(remaining=51, reset=600))
            assert budget.remaining == 49

    virtualtime.run(main())


def test_after_a_restart_one_request_finds_out_what_is_left_before_others_follow() -> None:
    async def main() -> None:
        railway = Railway(opened(1000, 10), lambda: RateLimit(remaining=3, reset=600))
        for_all = [railway.ask(CLAIM, number, back=2.0) for number in range(4)]
        await together(for_all)
        assert [when for when, _, _ in railway.turns] == [0, 2, 2, 2]

    virtualtime.run(main())


def test_the_first_second_belongs_to_the_process_before() -> None:
    async def main() -> None:
        budget = Budget(PLANS["Hobby"], clock=clock, sleep=asyncio.sleep, random=Random(1))
        railway = Railway(budget)
        await railway.ask(CLAIM)
        assert railway.arrivals == [SECOND]

    virtualtime.run(main())


def test_a_refusal_stops_everybody_until_it_is_over_and_then_one_goes_ahead() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        railway = Railway(budget)
        async with budget.turn(READ, patience=1):
            assert budget.refuse(RateLimit(retry_after=120)) == 120
        with pytest.raises(Throttled) as caught:
            await railway.ask(CLAIM, patience=60)
        assert caught.value.retry_after == 120
        await together([railway.ask(CLAIM, back=1.0) for _ in range(3)])
        assert [when for when, _, _ in railway.turns] == [120, 121, 121]

    virtualtime.run(main())


def test_who_waits_hears_of_a_refusal_at_once_if_it_lasts_too_long() -> None:
    async def main() -> None:
        budget = opened(1000, 1)
        railway = Railway(budget)
        async with budget.turn(READ, patience=1), asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(suppressing(railway.ask(CREATE, patience=30)))
            await asyncio.sleep(0.5)
            budget.refuse(RateLimit(retry_after=600))
            assert await waiting == 600
        assert clock() == 0.5

    async def suppressing(work: Awaitable[None]) -> float | None:
        try:
            await work
        except Throttled as error:
            return error.retry_after
        return None

    virtualtime.run(main())


def test_refusals_without_a_time_last_longer_each_time_until_an_answer_comes() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        pauses = []
        for _ in range(9):
            async with budget.turn(READ, patience=EVER):
                pauses.append(budget.refuse(RateLimit()))
        assert all(5 * 2**n <= pause <= 7.5 * 2**n for n, pause in enumerate(pauses[:6]))
        assert all(300 <= pause <= 450 for pause in pauses[6:])
        assert len({pause / 2**n for n, pause in enumerate(pauses[:6])}) == 6
        await Railway(budget).ask(READ)
        async with budget.turn(READ, patience=EVER):
            assert budget.refuse(RateLimit()) <= 7.5

    virtualtime.run(main())


def test_a_refusal_with_nothing_left_lasts_until_the_window_ends() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        async with budget.turn(READ, patience=1):
            assert budget.refuse(RateLimit(retry_after=1, remaining=0, reset=900)) == 900

    virtualtime.run(main())


def test_a_refusal_that_says_only_how_long_it_lasts_lasts_no_longer() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        async with budget.turn(READ, patience=1):
            assert budget.refuse(RateLimit(retry_after=20, remaining=0)) == 20
        await Railway(budget).ask(CLAIM, patience=25)

    virtualtime.run(main())


def test_a_wait_that_is_known_to_be_too_long_is_refused_at_once() -> None:
    async def main() -> None:
        railway = Railway(opened(10, 10))
        await together([railway.ask(CLAIM) for _ in range(10)])
        began = clock()
        with pytest.raises(Throttled) as caught:
            await railway.ask(CLAIM, patience=600)
        assert clock() == began
        assert caught.value.retry_after == pytest.approx(HOUR, abs=2)
        await railway.ask(CLAIM, patience=HOUR)

    virtualtime.run(main())


def test_patience_ends_in_a_queue_that_is_too_long() -> None:
    async def main() -> None:
        railway = Railway(opened(1000, 1))
        patient = [railway.ask(CREATE, patience=EVER) for _ in range(20)]

        async def impatient() -> None:
            await asyncio.sleep(0.1)
            with pytest.raises(Throttled) as caught:
                await railway.ask(CREATE, patience=5)
            assert clock() == pytest.approx(5.1)
            assert caught.value.retry_after is not None
            assert caught.value.retry_after >= 1

        await together([*patient, impatient()])
        assert len(railway.turns) == 20

    virtualtime.run(main())


def test_who_gives_up_waiting_takes_nobodys_turn() -> None:
    async def main() -> None:
        budget = opened(1000, 1, settle=1.0)
        railway = Railway(budget)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(railway.ask(CLAIM, "first"))
            tasks.create_task(railway.ask(CLAIM, "second"))
            await asyncio.sleep(0.5)
            first.cancel()
        assert railway.turns == [(1.0, CLAIM, "second")]

    virtualtime.run(main())


def test_a_turn_that_was_given_to_somebody_who_gives_up_in_that_moment_is_given_on() -> None:
    async def main() -> None:
        budget = opened(1000, 2, settle=1.0)
        budget.learn(RateLimit(remaining=500, reset=600))
        before = budget.remaining
        railway = Railway(budget)
        async with asyncio.TaskGroup() as tasks:

            async def first() -> None:
                async with budget.turn(CLAIM, patience=EVER):
                    # Both turns were given at once, and the other one has not heard of it yet.
                    second.cancel()
                    await asyncio.sleep(10)

            tasks.create_task(first())
            second = tasks.create_task(railway.ask(CLAIM, "second"))
            third = tasks.create_task(railway.ask(CLAIM, "third"))
            await third
            assert railway.turns == [(1.0, CLAIM, "third")]
        assert budget.remaining == before - 2

    virtualtime.run(main())


def test_creations_that_came_too_quickly_rest_longer_each_time_and_for_nobody_equally_long() -> None:
    async def main() -> None:
        budget = opened()
        first, second = (budget.throttle("VolumeCreate", None) for _ in range(2))
        assert 15 <= first <= 22.5
        assert 30 <= second <= 45
        rests = set()
        for _ in range(20):
            with pytest.raises(Throttled) as caught:
                budget.require_open("VolumeCreate")
            assert caught.value.retry_after is not None
            assert caught.value.retry_after >= second
            rests.add(caught.value.retry_after)
        assert len(rests) == 20
        budget.require_open("ServiceCreate")
        await asyncio.sleep(second)
        budget.require_open("VolumeCreate")
        budget.succeed("VolumeCreate")
        assert budget.throttle("VolumeCreate", None) <= 22.5
        assert 60 <= budget.throttle("ServiceCreate", 60) <= 90

    virtualtime.run(main())


def test_an_error_in_a_turn_still_counts_as_a_request() -> None:
    async def main() -> None:
        budget = opened(1000, 10)
        with pytest.raises(ZeroDivisionError):
            async with budget.turn(READ, patience=1):
                raise ZeroDivisionError
        assert budget.remaining == 999

    virtualtime.run(main())


def test_a_thousand_that_wait_cost_little() -> None:
    async def main() -> None:
        railway = Railway(opened(10_000, 50))
        await together([railway.ask(CLAIM) for _ in range(1000)])
        assert clock() < 21

    virtualtime.run(main())
