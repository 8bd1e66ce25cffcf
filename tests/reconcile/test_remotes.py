"""What the backends say exists: one picture per backend."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from prometheus_client import REGISTRY

from controller import metrics
from controller.errors import AgentpoolError, Refused, Transient
from controller.ports import LaunchOrder, Remote, RemoteState
from controller.reconcile.remotes import LIST_SECONDS, RETRY_SECONDS, Remotes
from tests.doubles.virtualtime import now
from tests.reconcile.clockwork import cancelled, in_virtual_time, settled


def remote(uid: str, state: RemoteState = RemoteState.RUNNING) -> Remote:
    return Remote(uid, f"pid-{uid}", state, f"http://127.0.0.1/{uid}")


class Backend:
    """A backend whose list answers what there was when it began, as long as it takes, or fails."""

    def __init__(self, *present: str) -> None:
        self.present = {uid: remote(uid) for uid in present}
        self.seconds = 0.0
        self.error: AgentpoolError | None = None
        self.lists = 0
        self.hints: asyncio.Queue[Remote | AgentpoolError] = asyncio.Queue()

    async def list(self) -> Sequence[Remote]:
        self.lists += 1
        answer, error = list(self.present.values()), self.error
        await asyncio.sleep(self.seconds)
        if error is not None:
            raise error
        return answer

    async def changes(self) -> AsyncIterator[Remote]:
        while True:
            hint = await self.hints.get()
            if isinstance(hint, AgentpoolError):
                raise hint
            yield hint

    async def launch(self, order: LaunchOrder) -> Remote:
        raise NotImplementedError

    async def terminate(self, uid: str, *, grace: float) -> bool:
        raise NotImplementedError

    async def pause(self, uid: str) -> Remote:
        raise NotImplementedError

    async def resume(self, uid: str) -> Remote:
        raise NotImplementedError

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        raise NotImplementedError

    def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


class Picture:
    """The picture of a backend, and what it told."""

    def __init__(self, *present: str) -> None:
        self.backend = Backend(*present)
        self.changed: list[str] = []
        self.lists_told = 0
        self.remotes = Remotes("process", self.backend, self.changed.append, now)
        self.remotes.on_list = self.listed

    def listed(self) -> None:
        self.lists_told += 1

    async def listed_once(self) -> list[str]:
        """Lists, and answers which remotes were told to have changed."""
        self.changed.clear()
        await self.remotes.list_once()
        return sorted(self.changed)


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
    ],
    ids=["for now", "until somebody acts"],
)
@in_virtual_time
async def test_a_list_that_fails_keeps_the_picture_and_says_that_the_backend_is_unavailable(
    error: AgentpoolError, reason: str
) -> None:
    picture = Picture("a")
    await picture.remotes.list_once()
    told = picture.lists_told
    picture.backend.error = error
    assert await picture.listed_once() == []
    assert (picture.remotes.get("a"), picture.remotes.listed) == (remote("a"), True)
    health = picture.remotes.health
    assert (health.available, health.reason) == (False, reason)
    assert health.message == f"backend process cannot be read: {error}"
    assert picture.lists_told > told
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
    await asyncio.sleep(LIST_SECONDS)
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
    picture.remotes.in_use = lambda: False
    picture.backend.error = Transient("the engine does not answer")
    await picture.remotes.list_once()
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "process"}) is None
    picture.remotes.in_use = lambda: True
    await picture.remotes.list_once()
    assert REGISTRY.get_sample_value("agentpool_backend_available", {"backend": "process"}) == 0
