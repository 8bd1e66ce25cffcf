"""Whatever Railway does with a request, and wherever the controller dies: one service, one deployment, nothing left."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import product
from typing import Any

import httpx
import pytest

from controller.errors import AgentpoolError, Transient
from controller.ports import RemoteState
from tests.contract.backend.harness import end, eventually
from tests.contract.backend.railway_harness import RailwayHarness
from tests.railway import Fault, Settings, Twin

CREATING = ["serviceCreate", "volumeCreate", "serviceDomainCreate", "environmentPatchCommit"]
ENDING = ["volumeUpdate", "serviceDelete", "volumeDelete"]
AT_EVERY_STEP = [Fault.LOST_ANSWER, Fault.ERROR_AFTER, Fault.LOST_REQUEST]
"""Carried out without a word, carried out and denied, not carried out."""
AT_ONE_STEP = [Fault.TRUNCATED, Fault.GATEWAY_TIMEOUT, Fault.ERROR_BEFORE, Fault.BAD_GATEWAY]
"""The same in other words: the client takes them for the same, whatever the step."""


@pytest.fixture
async def railway() -> AsyncIterator[RailwayHarness]:
    async with Twin(settings=Settings(draining=0.2)) as twin:
        world = RailwayHarness(twin)
        yield world
        await world.close()


async def launched(world: RailwayHarness, uid: str, **order: Any) -> None:
    """Launch as the controller does: again, until it works."""
    backend = world.opened[-1][0]

    async def attempt() -> bool:
        try:
            return bool(await backend.launch(world.order(uid, **order)))
        except Transient:
            return False

    await eventually(attempt)
    remote = await world.settled(backend, await backend.launch(world.order(uid, **order)))
    assert remote.state is RemoteState.RUNNING


async def ended(world: RailwayHarness, uid: str) -> None:
    """End as the controller does: again, until it is done."""
    backend = world.opened[-1][0]

    async def attempt() -> bool:
        try:
            return await backend.terminate(uid, grace=0.0)
        except Transient:
            return False

    await eventually(attempt)


def check_made_once(world: RailwayHarness, uid: str) -> None:
    counts = world.twin.counts
    [service] = world.services(uid)
    assert counts.doubles == {}
    assert counts.deployments[service] == 1
    assert world.twin.control.incomplete_boots() == {}
    assert counts.concurrent_commits == 0
    assert len(world.state()["services"][service]["domains"]) == 1


def check_nothing_left(world: RailwayHarness) -> None:
    state = world.state()
    assert [key for key, each in state["services"].items() if not each["deleted"]] == []
    assert state["volumes"] == {}


@pytest.mark.parametrize(
    ("step", "fault"),
    [*product(CREATING, AT_EVERY_STEP), *product(["environmentPatchCommit"], AT_ONE_STEP)],
)
async def test_a_step_of_a_creation_is_done_once_whatever_the_answer(
    railway: RailwayHarness, step: str, fault: Fault
) -> None:
    await railway.make()
    uid = str(uuid.uuid4())
    railway.twin.faults.once(fault, only=[step])
    await launched(railway, uid, volume={})

    assert railway.twin.faults.counts[fault] == 1
    check_made_once(railway, uid)
    assert railway.twin.counts.volumes_created == 1


@pytest.mark.parametrize(("step", "fault"), [*product(ENDING, AT_EVERY_STEP), *product(["serviceDelete"], AT_ONE_STEP)])
async def test_a_step_of_an_end_leaves_nothing_whatever_the_answer(
    railway: RailwayHarness, step: str, fault: Fault
) -> None:
    await railway.make()
    uid = str(uuid.uuid4())
    await launched(railway, uid, volume={})
    railway.twin.faults.once(fault, only=[step])
    await ended(railway, uid)

    assert railway.twin.faults.counts[fault] == 1
    check_nothing_left(railway)


class Died(BaseException):
    """The controller is no more."""


class DoomedTransport(httpx.AsyncHTTPTransport):
    """Lets so many requests through, and then the controller die: before the next is sent, or before its answer."""

    def __init__(self, requests: int, *, sent: bool) -> None:
        super().__init__()
        self.left = requests
        self.sent = sent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        if self.left < 0 and not self.sent:
            raise Died
        response = await super().handle_async_request(request)
        if self.left < 0:
            raise Died
        return response


@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "before its answer"])
@pytest.mark.parametrize("requests", range(6))
async def test_a_creation_that_dies_at_any_request_is_finished_by_the_successor(
    railway: RailwayHarness, requests: int, sent: bool
) -> None:
    uid = str(uuid.uuid4())
    doomed = await railway.make_doomed(DoomedTransport(requests, sent=sent))
    with suppress(Died):
        await doomed.launch(railway.order(uid, volume={}))
    await railway.make()
    await launched(railway, uid, volume={})

    check_made_once(railway, uid)
    assert railway.twin.counts.volumes_created == 1


@pytest.mark.parametrize("sent", [False, True], ids=["before it is sent", "before its answer"])
@pytest.mark.parametrize("requests", range(6))
async def test_an_end_that_dies_at_any_request_is_finished_by_the_successor(
    railway: RailwayHarness, requests: int, sent: bool
) -> None:
    uid = str(uuid.uuid4())
    await railway.make()
    await launched(railway, uid, volume={})
    doomed = await railway.make_doomed(DoomedTransport(requests, sent=sent))
    with suppress(Died):
        await end(doomed, uid)
    backend = await railway.make()
    # What is left is seen, even of an instance that nobody remembers.
    left = {remote.uid for remote in await backend.list()}
    assert left == ({uid} if railway.services(uid) or railway.state()["volumes"] else set())
    await ended(railway, uid)

    check_nothing_left(railway)


@pytest.mark.parametrize("requests", range(1, 6))
async def test_a_creation_that_died_and_is_wanted_no_more_leaves_nothing(
    railway: RailwayHarness, requests: int
) -> None:
    uid = str(uuid.uuid4())
    doomed = await railway.make_doomed(DoomedTransport(requests, sent=True))
    with suppress(Died):
        await doomed.launch(railway.order(uid, volume={}))
    await railway.make()
    await ended(railway, uid)

    check_nothing_left(railway)


async def test_a_service_that_no_list_shows_yet_is_neither_doubled_nor_taken_for_gone(railway: RailwayHarness) -> None:
    await railway.make()
    uid = str(uuid.uuid4())
    railway.twin.settings.invisible = (1.5, 2.0)
    railway.twin.faults.once(Fault.INVISIBLE)
    railway.twin.faults.once(Fault.LOST_ANSWER, only=["serviceCreate"])
    await launched(railway, uid)

    assert railway.twin.faults.counts[Fault.INVISIBLE] == 1
    check_made_once(railway, uid)


async def test_a_deleted_service_that_lists_still_show_is_not_gone_before_they_stop(railway: RailwayHarness) -> None:
    await railway.make()
    uid = str(uuid.uuid4())
    await launched(railway, uid)
    railway.twin.settings.stale = (0.8, 1.0)
    railway.twin.faults.once(Fault.STALE)
    await ended(railway, uid)

    assert railway.twin.faults.counts[Fault.STALE] == 1
    check_nothing_left(railway)


async def test_an_end_during_a_creation_leaves_nothing(railway: RailwayHarness) -> None:
    backend = await railway.make()
    uid = str(uuid.uuid4())
    railway.twin.settings.slow = (0.3, 0.4)
    railway.twin.faults.set(Fault.SLOW, 1.0, only=["mutation"])
    launching = asyncio.create_task(backend.launch(railway.order(uid, volume={})))
    await eventually(lambda: railway.twin.counts.requests["ServiceCreate"])
    await ended(railway, uid)
    with pytest.raises(AgentpoolError):
        await launching

    check_nothing_left(railway)
    assert await backend.list() == ()


async def test_many_creations_at_once_amid_faults_double_nothing_and_commit_one_by_one(railway: RailwayHarness) -> None:
    await railway.make()
    for fault, rate in ((Fault.LOST_ANSWER, 0.1), (Fault.ERROR_AFTER, 0.05), (Fault.INVISIBLE, 0.3)):
        railway.twin.faults.set(fault, rate)
    uids = [str(uuid.uuid4()) for _ in range(8)]
    await asyncio.gather(*(launched(railway, uid) for uid in uids))

    for uid in uids:
        check_made_once(railway, uid)
    await asyncio.gather(*(ended(railway, uid) for uid in uids))
    railway.twin.faults.clear()
    check_nothing_left(railway)
