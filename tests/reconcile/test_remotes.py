"""What the backends say exists: one picture per place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from controller import metrics
from controller.errors import AgentpoolError, Barred, Refused, Transient
from controller.ports import Pace, RemoteState
from controller.reconcile.remotes import PATIENCE_SECONDS, RETRY_SECONDS, News, Remotes
from tests.doubles.listed import Ear, ListedBackend, remote
from tests.doubles.virtualtime import now
from tests.reconcile.clockwork import cancelled, in_virtual_time, settled


class Picture:
    """The picture of a place, and what it told."""

    def __init__(self, *present: str, pace: Pace | None = None, place: str = "process") -> None:
        self.backend, self.ear = ListedBackend(*present, pace=pace), Ear()
        ear = self.ear
        news = News(ear.changed.append, ear.listed.append, ear.admit, lambda _: ear.used)
        self.remotes = Remotes(place, self.backend, news, now)

    @property
    def changed(self) -> list[str]:
        """Which remotes were told to have changed."""
        return self.ear.changed

    async def listed_once(self) -> list[str]:
        """Lists, and answers which remotes were told to have changed."""
        self.changed.clear()
        await self.remotes.list_once()
        return sorted(self.changed)


@asynccontextmanager
async def followed(picture: Picture) -> AsyncIterator[None]:
    """Follows the place meanwhile."""
    task = asyncio.ensure_future(picture.remotes.run())
    await settled()
    try:
        yield
    finally:
        await cancelled(task)


@in_virtual_time
async def test_before_the_first_list_a_missing_remote_may_exist() -> None:
    picture = Picture("a")
    assert (picture.remotes.listed, picture.remotes.get("a")) == (False, None)
    await picture.remotes.list_once()
    assert (picture.remotes.listed, picture.remotes.get("a"), picture.remotes.uids()) == (True, remote("a"), ("a",))


@in_virtual_time
async def test_only_what_differs_is_told() -> None:
    picture = Picture("same", "other", "gone")
    assert await picture.listed_once() == ["gone", "other", "same"]
    picture.backend.present["other"] = remote("other", RemoteState.EXITED)
    picture.backend.present["new"] = remote("new")
    del picture.backend.present["gone"]
    assert await picture.listed_once() == ["gone", "new", "other"]
    assert sorted(picture.remotes.uids()) == ["new", "other", "same"]
    assert await picture.listed_once() == []


@in_virtual_time
async def test_what_was_heard_of_before_the_first_list_is_told_again_once_the_picture_is_complete() -> None:
    picture = Picture("a")
    picture.remotes.learn(remote("a"))
    assert await picture.listed_once() == ["a"]


@in_virtual_time
async def test_a_list_that_began_before_a_launch_was_answered_does_not_drop_the_new_remote() -> None:
    picture = Picture()
    picture.backend.seconds = 2
    listing = asyncio.ensure_future(picture.remotes.list_once())
    await asyncio.sleep(1)
    picture.remotes.learn(remote("new"))
    picture.changed.clear()
    await listing
    assert picture.remotes.get("new") == remote("new")
    picture.backend.seconds = 0
    assert await picture.listed_once() == ["new"]
    assert picture.remotes.get("new") is None


@in_virtual_time
async def test_a_list_that_began_before_a_remote_was_gone_does_not_bring_it_back() -> None:
    picture = Picture("old")
    await picture.remotes.list_once()
    picture.backend.seconds = 2
    listing = asyncio.ensure_future(picture.remotes.list_once())
    await asyncio.sleep(1)
    picture.remotes.forget("old")
    await listing
    assert picture.remotes.get("old") is None


@in_virtual_time
async def test_a_hint_that_comes_during_a_list_is_newer_than_the_list() -> None:
    picture = Picture("a")
    picture.backend.seconds = 2
    listing = asyncio.ensure_future(picture.remotes.list_once())
    await asyncio.sleep(1)
    picture.remotes.learn(remote("a", RemoteState.EXITED))
    await listing
    assert picture.remotes.get("a") == remote("a", RemoteState.EXITED)


@in_virtual_time
async def test_the_same_news_twice_is_told_once() -> None:
    picture = Picture()
    picture.remotes.learn(remote("a"))
    picture.remotes.learn(remote("a"))
    assert picture.changed == ["a"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Transient("the engine does not answer"), "BackendUnavailable"),
        (Refused("TokenRejected", "the token is not valid: make another"), "TokenRejected"),
        (Barred("PlanLimit", "the plan allows no more: raise it", 60), "PlanLimit"),
    ],
    ids=["for now", "until somebody acts", "for a while"],
)
@in_virtual_time
async def test_a_list_that_fails_keeps_the_picture_and_says_that_the_backend_is_unavailable(
    error: AgentpoolError, reason: str
) -> None:
    picture = Picture("a")
    await picture.remotes.list_once()
    told = len(picture.ear.listed)
    picture.backend.error = error
    assert await picture.listed_once() == []
    assert (picture.remotes.get("a"), picture.remotes.listed) == (remote("a"), True)
    health = picture.remotes.health
    assert (health.available, health.reason) == (False, reason)
    assert health.message == f"backend process cannot be read: {error}"
    assert len(picture.ear.listed) > told
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "process"}) == 0


@in_virtual_time
async def test_a_first_list_that_fails_leaves_the_picture_incomplete() -> None:
    picture = Picture("a")
    picture.backend.error = Transient("the engine does not answer")
    await picture.remotes.list_once()
    assert not picture.remotes.listed


@in_virtual_time
async def test_a_backend_that_answers_again_is_available_again() -> None:
    picture = Picture("a")
    picture.backend.error = Transient("the engine does not answer")
    await picture.remotes.list_once()
    picture.backend.error = None
    await picture.remotes.list_once()
    assert (picture.remotes.health.available, picture.remotes.listed) == (True, True)
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "process"}) == 1


@in_virtual_time
async def test_it_is_listed_now_and_then_and_sooner_while_it_fails() -> None:
    picture = Picture("a")
    picture.backend.error = Transient("the engine does not answer")
    task = asyncio.ensure_future(picture.remotes.run())
    await asyncio.sleep(RETRY_SECONDS * 3 + 1)
    assert picture.backend.lists == 4
    picture.backend.error = None
    await asyncio.sleep(RETRY_SECONDS)
    assert picture.backend.lists == 5
    await asyncio.sleep(Pace().slow)
    assert picture.backend.lists == 6
    await cancelled(task)


@in_virtual_time
async def test_hints_are_followed_and_followed_again_after_they_broke_off() -> None:
    picture = Picture()
    task = asyncio.ensure_future(picture.remotes.run())
    picture.backend.hints.put_nowait(remote("a"))
    await settled()
    assert picture.remotes.get("a") == remote("a")
    picture.backend.hints.put_nowait(Transient("the stream broke off"))
    picture.backend.hints.put_nowait(remote("b"))
    await asyncio.sleep(RETRY_SECONDS + 1)
    assert picture.remotes.get("b") == remote("b")
    await cancelled(task)


@in_virtual_time
async def test_a_backend_that_came_back_says_since_when() -> None:
    picture = Picture("a")
    await picture.remotes.list_once()
    assert picture.remotes.health.since is None
    picture.backend.error = Transient("the engine does not answer")
    await picture.remotes.list_once()
    await asyncio.sleep(3)
    picture.backend.error = None
    await picture.remotes.list_once()
    back = now()
    assert picture.remotes.health.since == back
    await asyncio.sleep(3)
    await picture.remotes.list_once()
    assert picture.remotes.health.since == back


@in_virtual_time
async def test_a_stream_that_broke_off_may_have_cost_instances_and_the_backend_is_listed_at_once() -> None:
    picture = Picture("a")
    task = asyncio.ensure_future(picture.remotes.run())
    await settled()
    lists = picture.backend.lists
    picture.backend.hints.put_nowait(Transient("the engine was restarted"))
    await settled()
    assert picture.backend.lists == lists + 1
    assert picture.remotes.health.since == now()
    await cancelled(task)


@in_virtual_time
async def test_of_two_lists_at_once_the_second_waits_for_the_first() -> None:
    picture = Picture("old")
    picture.backend.seconds = 2
    first = asyncio.ensure_future(picture.remotes.list_once())
    await asyncio.sleep(1)
    picture.backend.present = {"new": remote("new")}
    await asyncio.gather(first, picture.remotes.list_once())
    assert picture.remotes.uids() == ("new",)


@in_virtual_time
async def test_nobody_is_alarmed_about_a_backend_that_nobody_uses() -> None:
    metrics.BACKEND_AVAILABLE.clear()
    picture = Picture()
    picture.ear.used = False
    picture.backend.error = Transient("the engine does not answer")
    await picture.remotes.list_once()
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "process"}) is None
    picture.ear.used = True
    await picture.remotes.list_once()
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "process"}) == 0


SLOW, FAST = 30.0, 4.0
PACE = Pace(SLOW, FAST)


async def seconds_until_listed(picture: Picture) -> float:
    """How long it takes until the place is asked again."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    picture.backend.asked.clear()
    await picture.backend.asked.wait()
    return loop.time() - began


@pytest.mark.parametrize(
    ("state", "seconds"),
    [
        (RemoteState.BUILDING, FAST),
        (RemoteState.DEPLOYING, FAST),
        (RemoteState.UNKNOWN, FAST),
        (RemoteState.RUNNING, SLOW),
        (RemoteState.PAUSED, SLOW),
        (RemoteState.SLEEPING, SLOW),
        (RemoteState.EXITED, SLOW),
    ],
)
@in_virtual_time
async def test_a_place_is_read_fast_while_something_is_about_to_change_there(
    state: RemoteState, seconds: float
) -> None:
    picture = Picture("a", "b", pace=PACE)
    picture.backend.present["b"] = remote("b", state)
    async with followed(picture):
        assert await seconds_until_listed(picture) == pytest.approx(seconds, abs=0.5)
        assert await seconds_until_listed(picture) == pytest.approx(seconds, abs=0.5)


@pytest.mark.parametrize(("waited", "left"), [(1, 3), (20, 0)], ids=["a little", "longer than it would have"])
@in_virtual_time
async def test_what_is_launched_meanwhile_shortens_a_long_wait(waited: float, left: float) -> None:
    picture = Picture("a", pace=PACE)
    async with followed(picture):
        await asyncio.sleep(waited)
        picture.remotes.learn(remote("new", RemoteState.BUILDING))
        assert await seconds_until_listed(picture) == pytest.approx(left, abs=0.5)


@in_virtual_time
async def test_an_end_that_takes_its_time_is_followed_fast_until_nothing_is_left() -> None:
    picture = Picture("a", "b", pace=PACE)
    async with followed(picture):
        await asyncio.sleep(1)
        picture.backend.gone = False
        assert not await picture.remotes.terminate("a", grace=10)
        assert await seconds_until_listed(picture) == pytest.approx(FAST - 1, abs=0.5)
        assert await seconds_until_listed(picture) == pytest.approx(FAST, abs=0.5)
        picture.backend.gone = True
        assert await picture.remotes.terminate("a", grace=10)
        assert await seconds_until_listed(picture) == pytest.approx(SLOW, abs=0.5)


@in_virtual_time
async def test_an_end_that_the_list_shows_as_complete_is_followed_no_more() -> None:
    picture = Picture("a", pace=PACE)
    async with followed(picture):
        picture.backend.gone = False
        await picture.remotes.terminate("a", grace=10)
        picture.backend.present.clear()
        await seconds_until_listed(picture)
        assert await seconds_until_listed(picture) == pytest.approx(SLOW, abs=0.5)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Transient("it does not answer"), RETRY_SECONDS),
        (Transient("it does not answer", retry_after=2), RETRY_SECONDS),
        (Transient("too many requests", retry_after=40), 40),
        (Barred("PlanLimit", "the plan is used up", 90), 90),
        (Refused("TokenRejected", "the token is not valid"), RETRY_SECONDS),
    ],
    ids=["soon", "not sooner than usual", "as late as it wishes", "also when barred", "refused"],
)
@in_virtual_time
async def test_a_place_that_fails_is_asked_again(error: AgentpoolError, seconds: float) -> None:
    picture = Picture("a", pace=PACE)
    picture.backend.error = error
    async with followed(picture):
        assert await seconds_until_listed(picture) == pytest.approx(seconds, abs=0.5)


@in_virtual_time
async def test_a_lost_stream_does_not_make_it_ask_sooner_than_the_place_wishes() -> None:
    picture = Picture("a", pace=PACE)
    picture.backend.error = Transient("too many requests", retry_after=40)
    async with followed(picture):
        picture.backend.hints.put_nowait(Transient("too many requests", retry_after=40))
        assert await seconds_until_listed(picture) == pytest.approx(40, abs=0.5)


@in_virtual_time
async def test_a_place_without_a_first_answer_is_not_available_after_a_while() -> None:
    picture = Picture("a", place="railway/p/e")
    picture.backend.seconds = 3600
    async with followed(picture):
        assert (picture.remotes.asked, picture.remotes.health.available) == (False, True)
        await asyncio.sleep(PATIENCE_SECONDS + 1)
        health = picture.remotes.health
        assert (picture.remotes.asked, health.available, health.reason) == (True, False, "BackendUnavailable")
        assert health.message.startswith("backend railway has not answered")
        assert picture.ear.listed == ["railway/p/e"]


@in_virtual_time
async def test_an_answer_in_time_keeps_it_available() -> None:
    picture = Picture("a")
    async with followed(picture):
        await asyncio.sleep(PATIENCE_SECONDS + 1)
        assert picture.remotes.health.available


@in_virtual_time
async def test_of_a_picture_that_is_distrusted_nothing_is_missing_until_it_is_listed_anew() -> None:
    picture = Picture("a", pace=PACE)
    async with followed(picture):
        await asyncio.sleep(1)
        picture.backend.seconds = 2
        picture.remotes.distrust()
        assert (picture.remotes.listed, picture.remotes.get("a")) == (False, remote("a"))
        await asyncio.sleep(1)
        assert not picture.remotes.listed
        await asyncio.sleep(1.5)
        assert picture.remotes.listed


@in_virtual_time
async def test_a_list_that_began_before_it_was_distrusted_does_not_count() -> None:
    picture = Picture("a")
    picture.backend.seconds = 2
    listing = asyncio.ensure_future(picture.remotes.list_once())
    await asyncio.sleep(1)
    picture.remotes.distrust()
    await listing
    assert not picture.remotes.listed
    await picture.remotes.list_once()
    assert picture.remotes.listed


@in_virtual_time
async def test_a_series_bears_the_name_of_the_place_and_goes_with_it() -> None:
    picture = Picture("a", place="railway/p/e")
    await picture.remotes.list_once()
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "railway/p/e"}) == 1
    metrics.forget_place("railway/p/e")
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "railway/p/e"}) is None
