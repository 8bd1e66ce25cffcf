"""A place that takes no launches: who is kept off, who may try, and when it is open again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from controller.errors import AgentpoolError, Barred, Missing, Refused, Transient
from controller.reconcile.bar import LOOK_SECONDS
from controller.reconcile.remotes import News, Remotes
from tests.doubles.listed import Ear, ListedBackend
from tests.doubles.virtualtime import now
from tests.reconcile.clockwork import cancelled, in_virtual_time, settled

USED_UP = Barred("PlanLimit", "the plan allows no more services: raise it", 60)


class Site:
    """A place, and the launches that get through to it."""

    def __init__(self) -> None:
        self.backend, self.ear = ListedBackend("a"), Ear()
        ear = self.ear
        news = News(ear.changed.append, ear.listed.append, ear.admit, lambda _: True)
        self.remotes = Remotes("railway/p/e", self.backend, news, now)
        self.through: list[str] = []

    async def launch(self, uid: str, answer: Exception | None = None, seconds: float = 0.0) -> str:
        """Try to launch; the backend answers so, after that time. Tells how it went."""
        try:
            async with self.remotes.launching(uid):
                self.through.append(uid)
                await asyncio.sleep(seconds)
                if answer is not None:
                    raise answer
        except AgentpoolError as error:
            return type(error).__name__
        return "launched"

    def takes_launches(self) -> bool:
        return self.remotes.health.available


@asynccontextmanager
async def place(*, waiting: str = "") -> AsyncIterator[Site]:
    """A place that is followed, and who will still wait once they were turned away."""
    site = Site()
    site.ear.waiting = set(waiting.split())
    task = asyncio.ensure_future(site.remotes.run())
    await settled()
    try:
        yield site
    finally:
        await cancelled(task)


@contextmanager
def nobody_gets_through(site: Site) -> Iterator[None]:
    before = list(site.through)
    yield
    assert site.through == before


@in_virtual_time
async def test_a_barred_place_says_why_and_lets_no_launch_through() -> None:
    async with place(waiting="a") as site:
        assert await site.launch("a", USED_UP) == "Barred"
        health = site.remotes.health
        assert (health.available, health.reason, health.message) == (False, "PlanLimit", str(USED_UP))
        assert site.ear.listed[-1] == "railway/p/e"
        with nobody_gets_through(site):
            await asyncio.sleep(30)
            assert await site.launch("b") == "Barred"
            assert await site.launch("a") == "Barred"


@in_virtual_time
async def test_who_is_turned_away_is_told_why_and_for_how_long() -> None:
    async with place() as site:
        await site.launch("a", USED_UP)
        await asyncio.sleep(20)
        with pytest.raises(Barred) as caught:
            async with site.remotes.launching("b"):
                pass
        assert (caught.value.reason, str(caught.value), caught.value.retry_after) == ("PlanLimit", str(USED_UP), 40)


@in_virtual_time
async def test_launches_that_wait_for_their_turn_are_kept_off_too() -> None:
    async with place() as site:
        first = [asyncio.ensure_future(site.launch(f"first-{n}", USED_UP, seconds=1)) for n in range(16)]
        await settled()
        late = asyncio.ensure_future(site.launch("late"))
        assert await late == "Barred"
        assert {await each for each in first} == {"Barred"}
        assert "late" not in site.through


@in_virtual_time
async def test_when_its_time_has_come_one_may_try_and_the_others_wait() -> None:
    async with place(waiting="a b") as site:
        await site.launch("a", USED_UP)
        await site.launch("b")
        await asyncio.sleep(61)
        assert sorted(site.ear.admitted) == ["a", "b"]
        assert not site.takes_launches()  # nothing new is made as long as somebody waits to try
        trial = asyncio.ensure_future(site.launch("a", seconds=5))
        await settled()
        with nobody_gets_through(site):
            assert await site.launch("b") == "Barred"
        site.ear.admitted.clear()
        assert await trial == "launched"
        assert site.takes_launches()
        assert site.ear.admitted == ["b"]
        assert await site.launch("b") == "launched"


@in_virtual_time
async def test_a_try_that_finds_it_closed_bars_it_for_as_long_again() -> None:
    async with place(waiting="a b") as site:
        await site.launch("a", USED_UP)
        await asyncio.sleep(61)
        assert await site.launch("a", Barred("PlanLimit", "still none", 300)) == "Barred"
        site.ear.admitted.clear()
        assert site.remotes.health.message == "still none"
        with nobody_gets_through(site):
            await asyncio.sleep(290)
            assert await site.launch("a") == "Barred"
        assert site.ear.admitted == []
        await asyncio.sleep(11)
        assert await site.launch("a") == "launched"
        assert site.takes_launches()


@pytest.mark.parametrize(
    "answer",
    [Transient("it does not answer"), Refused("NoSuchImage", "there is no such image"), Missing("no Secret")],
    ids=["an answer that was lost", "an order that is wrong itself", "a Secret that is not there"],
)
@in_virtual_time
async def test_a_try_that_tells_nothing_lets_the_next_one_try(answer: AgentpoolError) -> None:
    async with place(waiting="a b") as site:
        await site.launch("a", USED_UP)
        await site.launch("b")
        await asyncio.sleep(61)
        await site.launch("a", answer)
        assert not site.takes_launches()
        site.ear.admitted.clear()
        await asyncio.sleep(LOOK_SECONDS)
        assert site.ear.admitted == ["b"]
        assert await site.launch("b") == "launched"
        assert site.takes_launches()


@in_virtual_time
async def test_a_try_that_is_broken_off_lets_the_next_one_try() -> None:
    async with place(waiting="a b") as site:
        await site.launch("a", USED_UP)
        await asyncio.sleep(61)
        trial = asyncio.ensure_future(site.launch("a", seconds=60))
        await settled()
        await cancelled(trial)
        assert await site.launch("b") == "launched"


@in_virtual_time
async def test_where_nobody_waits_any_more_it_is_open_when_its_time_has_come() -> None:
    async with place() as site:
        await site.launch("a", Barred("PlanLimit", "none is left", 45))
        await asyncio.sleep(44)
        assert not site.takes_launches()
        site.ear.listed.clear()
        await asyncio.sleep(2)
        assert site.takes_launches()
        assert site.ear.listed == ["railway/p/e"]
        assert site.remotes.health.since == site.remotes.bar.since  # what died meanwhile died of that


@in_virtual_time
async def test_who_gives_up_waiting_does_not_keep_it_closed() -> None:
    async with place(waiting="a") as site:
        await site.launch("a", USED_UP)
        await asyncio.sleep(61)
        assert not site.takes_launches()
        site.ear.waiting.clear()
        await asyncio.sleep(LOOK_SECONDS)
        assert site.takes_launches()


@in_virtual_time
async def test_a_launch_from_before_says_nothing_about_the_bar() -> None:
    async with place(waiting="a") as site:
        earlier = asyncio.ensure_future(site.launch("earlier", seconds=5))
        await settled()
        await site.launch("a", USED_UP)
        assert await earlier == "launched"
        assert not site.takes_launches()


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (None, "PlanLimit"),
        (Transient("it does not answer"), "BackendUnavailable"),
        (Refused("TokenRejected", "the token is not valid"), "TokenRejected"),
    ],
    ids=["a list that works does not lift it", "one that fails has its own reason", "whichever"],
)
@in_virtual_time
async def test_reading_goes_on_meanwhile(reading: AgentpoolError | None, reason: str) -> None:
    async with place(waiting="a") as site:
        await site.launch("a", USED_UP)
        site.backend.error = reading
        await site.remotes.list_once()
        health = site.remotes.health
        assert (health.available, health.reason) == (False, reason)
        assert site.remotes.readable is (reading is None)
        assert site.remotes.listed


@in_virtual_time
async def test_a_list_that_is_barred_does_not_bar_launches() -> None:
    async with place() as site:
        site.backend.error = USED_UP
        await site.remotes.list_once()
        assert (site.takes_launches(), site.remotes.health.reason) == (False, "PlanLimit")
        site.backend.error = None
        await site.remotes.list_once()
        assert site.takes_launches()
        assert await site.launch("a") == "launched"


@in_virtual_time
async def test_a_place_that_wishes_for_no_wait_is_not_asked_without_end() -> None:
    async with place(waiting="a") as site:
        await site.launch("a", Barred("Busy", "it takes none", 0))
        with nobody_gets_through(site):
            assert await site.launch("a") == "Barred"
        await asyncio.sleep(1.5)
        assert await site.launch("a") == "launched"
