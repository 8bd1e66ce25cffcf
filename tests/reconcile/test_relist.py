"""The slow comparison of the view with the API server."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

import pytest
from prometheus_client import REGISTRY

from controller.errors import Reversed, Transient
from controller.model import AgentClaim, AgentInstance, AgentPool, Resource
from controller.reconcile.relist import LAG_SECONDS, Relist
from controller.reconcile.view import View
from tests.core.builders import claim, instance, pool
from tests.doubles import virtualtime
from tests.doubles.cluster import ApiServer, MemoryCluster
from tests.doubles.wire import Direct
from tests.reconcile.clockwork import cancelled, in_virtual_time

T = TypeVar("T")


class Interrupted(Direct):
    """A wire on which something happens just after a list was answered, or which is cut."""

    def __init__(self) -> None:
        self.cut = False
        self.after_list: Callable[[], object] = lambda: None

    async def call(self, what: str, effect: Callable[[], T], *, write: bool = True, timeout: float = 15.0) -> T:  # noqa: ASYNC109
        if self.cut:
            raise Transient("the API server does not answer")
        answer = await super().call(what, effect, write=write, timeout=timeout)
        self.after_list()
        return answer


class Place:
    """An API server with one pool, one instance and one claim, a view, and the comparison of the two."""

    def __init__(self) -> None:
        self.server, self.wire, self.view = ApiServer(virtualtime.now), Interrupted(), View()
        self.relist = Relist(MemoryCluster(self.server, self.wire), self.view, every_seconds=600)
        for thing in (pool(), instance("one"), claim("wish")):
            self.server.create(type(thing), "default", body(thing), by="somebody")

    def learn_everything(self) -> None:
        for thing in self.everything():
            self.view.learn(thing)

    def everything(self) -> Sequence[Resource]:
        return [thing for kind in (AgentPool, AgentInstance, AgentClaim) for thing in self.server.list(kind)]

    def agrees(self) -> bool:
        seen = {thing.metadata.uid: thing for thing in self.view.everything()}
        return seen == {thing.metadata.uid: thing for thing in self.everything()}

    def write(self, phase: str = "Idle") -> AgentInstance:
        patch = {"status": {"phase": phase}}
        return self.server.patch(AgentInstance, "default", "one", patch, subresource="status", by="somebody")


def body(thing: Resource) -> dict[str, object]:
    content = thing.model_dump(mode="json", by_alias=True, exclude_none=True, include={"spec"})
    return content | {"metadata": {"name": thing.metadata.name}}


def repairs(kind: str) -> float:
    return REGISTRY.get_sample_value("agentpool_view_repairs_total", {"kind": kind}) or 0.0


@in_virtual_time
async def test_the_view_is_filled_with_all_that_there_is() -> None:
    place = Place()
    await place.relist.fill()
    assert place.agrees()


@in_virtual_time
async def test_an_api_server_that_cannot_be_read_is_reported_by_the_first_fill() -> None:
    place = Place()
    place.wire.cut = True
    with pytest.raises(Transient):
        await place.relist.fill()


@in_virtual_time
async def test_a_view_that_is_right_needs_no_repair() -> None:
    place = Place()
    place.learn_everything()
    assert await place.relist.compare() == 0


@in_virtual_time
async def test_what_a_watch_lost_is_repaired_and_counted_by_kind() -> None:
    place = Place()
    place.learn_everything()
    place.write()
    place.server.delete(AgentClaim, "default", "wish", by="somebody")
    second = claim("second")
    place.server.create(AgentClaim, "default", body(second), by="somebody")
    before = {kind: repairs(kind) for kind in ("AgentPool", "AgentInstance", "AgentClaim")}
    assert await place.relist.compare() == 3
    assert place.agrees()
    assert {kind: repairs(kind) - before[kind] for kind in before} == {
        "AgentPool": 0,
        "AgentInstance": 1,
        "AgentClaim": 2,
    }


@in_virtual_time
async def test_events_that_are_only_late_are_no_repair() -> None:
    place = Place()
    place.learn_everything()
    changed = place.write()
    gone = place.server.read(AgentClaim, "default", "wish")
    place.server.delete(AgentClaim, "default", "wish", by="somebody")
    loop = asyncio.get_running_loop()
    loop.call_later(LAG_SECONDS / 2, place.view.learn, changed)
    loop.call_later(LAG_SECONDS / 2, place.view.forget, gone)
    assert await place.relist.compare() == 0
    assert place.agrees()


@in_virtual_time
async def test_what_happened_after_the_list_is_not_undone() -> None:
    place = Place()
    place.learn_everything()

    def meanwhile() -> None:
        place.wire.after_list = lambda: None
        second = place.server.create(AgentClaim, "default", body(claim("second")), by="somebody")
        place.view.learn(second)
        place.view.learn(place.write("Starting"))
        gone = place.server.read(AgentPool, "default", "helpers")
        place.server.delete(AgentPool, "default", "helpers", by="somebody")
        place.view.forget(gone)

    place.wire.after_list = meanwhile
    assert await place.relist.compare() == 0
    assert place.agrees()


@in_virtual_time
async def test_it_fills_the_view_when_asked_to_and_again_until_the_api_server_answers() -> None:
    place, asked = Place(), asyncio.Event()
    place.learn_everything()
    task = asyncio.ensure_future(place.relist.fill_whenever(asked))
    place.server.delete(AgentClaim, "default", "wish", by="somebody")
    await asyncio.sleep(5)
    assert not place.agrees()
    place.wire.cut = True
    asked.set()
    await asyncio.sleep(5)
    assert not place.agrees()
    place.wire.cut = False
    await asyncio.sleep(1)
    assert place.agrees()
    place.write()
    await asyncio.sleep(5)
    assert not place.agrees()
    asked.set()
    await asyncio.sleep(1)
    assert place.agrees()
    await cancelled(task)


@in_virtual_time
async def test_it_compares_for_ever_and_outlives_an_api_server_that_is_away() -> None:
    place = Place()
    place.learn_everything()
    task = asyncio.ensure_future(place.relist.run())
    place.wire.cut = True
    await asyncio.sleep(700)
    place.wire.cut = False
    place.write()
    assert not place.agrees()
    await asyncio.sleep(600)
    assert place.agrees()
    await cancelled(task)


def knows_of_a_later_state(place: Place) -> None:
    thing = place.view.instances["default", "one"]
    later = thing.metadata.model_copy(update={"resource_version": "999999999"})
    place.view.learn(thing.model_copy(update={"metadata": later}))


def knows_of_its_end(place: Place) -> None:
    place.view.forget(place.view.claims["default", "wish"])


@pytest.mark.parametrize("happened", [knows_of_a_later_state, knows_of_its_end])
@pytest.mark.parametrize("look", ["fill", "compare", "run", "fill_whenever"])
@in_virtual_time
async def test_a_list_that_is_older_than_what_was_known_before_shows_that_the_api_server_went_back(
    look: str, happened: Callable[[Place], None]
) -> None:
    place, asked = Place(), asyncio.Event()
    place.learn_everything()
    happened(place)
    asked.set()
    before = tuple(place.view.everything())
    looks: dict[str, Callable[[], Coroutine[object, object, object]]] = {
        "fill": place.relist.fill,
        "compare": place.relist.compare,
        "run": place.relist.run,
        "fill_whenever": lambda: place.relist.fill_whenever(asked),
    }
    with pytest.raises(Reversed, match="its etcd was restored"):
        await looks[look]()
    assert tuple(place.view.everything()) == before


@in_virtual_time
async def test_what_happens_while_a_list_is_under_way_shows_nothing() -> None:
    place = Place()
    place.learn_everything()

    def delete() -> None:
        place.wire.after_list = lambda: None
        place.view.forget(next(iter(place.view.pools.values())))
        knows_of_a_later_state(place)

    place.wire.after_list = delete
    await place.relist.fill()
