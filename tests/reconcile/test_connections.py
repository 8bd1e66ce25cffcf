"""Places are opened when somebody is there, followed apart from each other, and closed when all have left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY

from controller.errors import Refused, Transient
from controller.model import AgentInstance, AgentPool, SecretKeyRef
from controller.ports import FixedPlace, Place, Provider
from controller.reconcile.connections import LOOK_SECONDS, UNREADABLE_SECONDS, UNUSED_SECONDS, Connections
from controller.reconcile.places import Places
from controller.reconcile.remotes import News
from controller.reconcile.secrets import Secrets
from controller.reconcile.view import View
from tests.core.builders import instance, pool
from tests.doubles import virtualtime
from tests.doubles.cluster import ApiServer, MemoryCluster
from tests.doubles.listed import Ear, ListedBackend, remote
from tests.doubles.wire import Direct
from tests.reconcile.clockwork import cancelled, in_virtual_time, settled

DEV, LIVE = "railway/p/dev/default/way-in/token/Project/Hobby", "railway/p/live/default/way-in/token/Project/Hobby"
DEV_ANEW = DEV.replace("way-in", "new")


def options(environment: str, token: str = "way-in", **more: Any) -> dict[str, Any]:
    way = {"projectId": "p", "environmentId": environment, "tokenSecretRef": {"name": token, "key": "token"}}
    return {"railway": way | more}


def pool_at(environment: str, token: str = "way-in", version: int = 1, **more: Any) -> AgentPool:
    made = pool(backend=options(environment, token, **more))
    update = {"resource_version": str(version), "generation": version}
    return made.model_copy(update={"metadata": made.metadata.model_copy(update=update)})


def instance_at(environment: str, name: str = "one", token: str = "way-in") -> AgentInstance:
    made = instance(name)
    spec = made.model_dump(mode="json", by_alias=True)["spec"] | {"backend": options(environment, token)}
    return made.model_copy(update={"spec": type(made.spec).model_validate(spec)})


class Railways:
    """A provider; its backends are what the test says."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.backends: dict[str, list[ListedBackend]] = {}
        self.next: dict[str, ListedBackend] = {}

    def connect(self, place: Place) -> ListedBackend:
        backend = self.next.pop(place.name, None) or ListedBackend()
        self.places.append(place)
        self.backends.setdefault(place.name, []).append(backend)
        return backend

    async def close(self) -> None:
        raise NotImplementedError


class Site:
    """Connections of a process backend and of railways, and what they know."""

    def __init__(self) -> None:
        self.view, self.ear = View(), Ear()
        self.server = ApiServer(virtualtime.now)
        self.railways, self.local = Railways(), ListedBackend()
        places, ear = Places(self.view), self.ear
        news = News(ear.changed.append, ear.listed.append, ear.admit, places.in_use)
        providers: dict[str, Provider] = {"railway": self.railways, "process": FixedPlace(self.local)}
        secrets = Secrets(MemoryCluster(self.server, Direct()))
        self.connections = Connections(providers, secrets, places, self.view, news, virtualtime.now)

    @property
    def open(self) -> set[str]:
        return {remotes.name for remotes in self.connections}

    def name_of(self, thing: AgentPool | AgentInstance) -> str | None:
        """The name of the place over which it is reached."""
        remotes = self.connections.of(thing)
        return remotes.name if remotes is not None else None


@asynccontextmanager
async def running(*things: AgentPool | AgentInstance, site: Site | None = None) -> AsyncIterator[Site]:
    """Connections that run on a view of these things."""
    site = site or Site()
    for thing in things:
        site.view.learn(thing)
    await site.connections.start()
    task = asyncio.ensure_future(site.connections.run())
    await settled()
    try:
        yield site
    finally:
        await cancelled(task)


@in_virtual_time
async def test_a_backend_that_finds_its_place_by_itself_is_listed_before_anything_else() -> None:
    site = Site()
    await site.connections.start()
    assert (site.local.lists, site.open) == (1, {"process"})
    remotes = site.connections.named("process")
    assert remotes is not None
    assert remotes.listed


@in_virtual_time
async def test_at_the_start_every_place_is_opened_in_which_somebody_is_and_nobody_waits_for_it() -> None:
    site = Site()
    slow = site.railways.next[DEV] = ListedBackend()
    slow.seconds = 600
    async with running(pool_at("dev"), instance_at("live"), site=site):
        assert site.open == {"process", DEV, LIVE}
        live = site.connections.named(LIVE)
        assert live is not None
        assert live.listed
        assert not site.connections.of(pool_at("dev")).listed  # type: ignore[union-attr]


@in_virtual_time
async def test_all_that_share_a_way_in_share_one_connection() -> None:
    async with running(pool_at("dev"), instance_at("dev"), instance_at("dev", "two")) as site:
        assert len(site.railways.places) == 1
        assert {site.name_of(each) for each in (pool_at("dev"), instance_at("dev"))} == {DEV}


@in_virtual_time
async def test_a_place_is_opened_when_somebody_comes_later() -> None:
    async with running() as site:
        assert site.open == {"process"}
        assert site.name_of(pool_at("dev")) == DEV
        await settled()
        assert site.railways.backends[DEV][0].lists == 1


@in_virtual_time
async def test_a_backend_that_this_operator_lacks_has_no_place() -> None:
    async with running() as site:
        assert site.connections.of(pool(backend={"docker": {}})) is None


@in_virtual_time
async def test_its_token_is_read_anew_each_time_from_the_namespace_of_the_place() -> None:
    async with running(pool_at("dev")) as site:
        [place] = site.railways.places
        assert (place.name, place.spec.railway is not None and place.spec.railway.environment_id) == (DEV, "dev")
        reference = SecretKeyRef(name="way-in", key="token")
        site.server.secrets["elsewhere", "way-in"] = {"token": "wrong"}
        with pytest.raises(Exception, match="Secret way-in does not exist in namespace default: create it"):
            await place.secret(reference)
        site.server.secrets["default", "way-in"] = {"other": "x"}
        with pytest.raises(Exception, match="Secret way-in has no key token: add it"):
            await place.secret(reference)
        for token in ("first", "second"):
            site.server.secrets["default", "way-in"] = {"token": token}
            assert await place.secret(reference) == token


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([pool_at("dev", "new")], DEV_ANEW),
        ([pool_at("dev", plan="Pro")], DEV.replace("Hobby", "Pro")),
        ([pool_at("live", "new")], DEV),
        ([], DEV),
        ([pool()], DEV),
    ],
    ids=[
        "its pool keeps the token elsewhere now",
        "its pool has another plan now",
        "its pool leads to another environment",
        "its pool is gone",
        "its pool is on another backend",
    ],
)
@in_virtual_time
async def test_an_instance_is_reached_by_its_pool_as_long_as_that_leads_to_it(
    known: list[AgentPool], expected: str
) -> None:
    async with running(*known, instance_at("dev")) as site:
        assert site.name_of(instance_at("dev")) == expected


@pytest.mark.parametrize("moves", [True, False], ids=["its pool moved on", "its pool was deleted"])
@in_virtual_time
async def test_an_instance_that_is_left_behind_is_reached_as_its_pool_did_at_last(moves: bool) -> None:
    async with running(pool_at("dev"), instance_at("dev")) as site:
        site.view.learn(pool_at("dev", "new", 2))
        if moves:
            site.view.learn(pool_at("live", "other", 3))
        else:
            site.view.forget(pool_at("dev", "new", 2))
        assert site.name_of(instance_at("dev")) == DEV_ANEW
        assert site.name_of(instance_at("live")) == (LIVE.replace("way-in", "other") if moves else LIVE)


@in_virtual_time
async def test_what_a_pool_takes_along_to_a_new_way_in_is_not_missing_before_that_is_listed_anew() -> None:
    site = Site()
    site.railways.next[DEV_ANEW] = ListedBackend()
    async with running(pool_at("dev"), site=site):
        site.connections.of(pool_at("dev", "new"))
        await settled()
        anew, here = site.connections.named(DEV_ANEW), site.connections.named("process")
        assert anew is not None
        assert here is not None
        assert anew.listed
        site.railways.backends[DEV_ANEW][0].seconds = 1
        site.view.learn(pool_at("dev", "new", 2))
        assert (anew.listed, here.listed) == (False, True)
        await asyncio.sleep(2)
        assert anew.listed


@in_virtual_time
async def test_a_pool_that_changes_otherwise_puts_no_picture_in_doubt() -> None:
    async with running(pool_at("dev")) as site:
        site.view.learn(pool_at("dev", version=2))
        assert site.connections.of(pool_at("dev")).listed  # type: ignore[union-attr]


@pytest.mark.parametrize("breaks", ["list", "changes"])
@in_virtual_time
async def test_a_place_that_breaks_ends_no_other_and_is_taken_up_again(
    breaks: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(pool_at("dev"), instance_at("live")) as site:
        dev, live = site.connections.named(DEV), site.connections.named(LIVE)
        assert dev is not None
        assert live is not None
        backend = site.railways.backends[DEV][0]
        if breaks == "list":
            backend.error = ZeroDivisionError("a mistake")
        else:
            backend.hints.put_nowait(ZeroDivisionError("a mistake"))
        await asyncio.sleep(32)
        assert "a mistake" in caplog.text
        site.railways.backends[LIVE][0].hints.put_nowait(remote("a"))
        await settled()
        assert live.uids() == ("a",)
        if breaks == "list":
            assert (dev.health.available, dev.health.reason) == (False, "BackendBroken")
        backend.error = None
        await asyncio.sleep(32)
        assert dev.health.available


def series(place: str) -> float | None:
    return REGISTRY.get_sample_value("agentpool_backend_available", {"backend": place})


@in_virtual_time
async def test_a_place_that_nobody_has_used_for_long_is_closed_with_all_that_was_its_own() -> None:
    async with running(pool_at("dev")) as site:
        assert series(DEV) == 1
        site.view.forget(pool_at("dev"))
        await asyncio.sleep(UNUSED_SECONDS - LOOK_SECONDS)
        assert site.open == {"process", DEV}
        await asyncio.sleep(3 * LOOK_SECONDS)
        backend = site.railways.backends[DEV][0]
        assert (site.open, backend.closed, series(DEV)) == ({"process"}, True, None)
        lists = backend.lists
        await asyncio.sleep(120)
        assert backend.lists == lists


@in_virtual_time
async def test_who_comes_after_that_has_it_opened_anew() -> None:
    async with running(pool_at("dev")) as site:
        site.view.forget(pool_at("dev"))
        await asyncio.sleep(UNUSED_SECONDS + 3 * LOOK_SECONDS)
        assert site.name_of(pool_at("dev")) == DEV
        await settled()
        assert [backend.closed for backend in site.railways.backends[DEV]] == [True, False]


@in_virtual_time
async def test_one_that_somebody_uses_again_in_time_stays_open_for_as_long_again() -> None:
    async with running(pool_at("dev")) as site:
        site.view.forget(pool_at("dev"))
        await asyncio.sleep(UNUSED_SECONDS - 2 * LOOK_SECONDS)
        site.view.learn(instance_at("dev"))
        await asyncio.sleep(3 * LOOK_SECONDS)
        site.view.forget(instance_at("dev"))
        await asyncio.sleep(UNUSED_SECONDS - LOOK_SECONDS)
        assert DEV in site.open


@in_virtual_time
async def test_one_that_has_something_without_an_owner_stays_open_until_that_is_gone() -> None:
    site = Site()
    backend = site.railways.next[DEV] = ListedBackend("orphan")
    async with running(pool_at("dev"), site=site):
        site.view.forget(pool_at("dev"))
        await asyncio.sleep(2 * UNUSED_SECONDS)
        assert DEV in site.open
        backend.present.clear()
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert DEV not in site.open


@in_virtual_time
async def test_what_another_place_of_the_same_environment_owns_does_not_keep_it_open() -> None:
    site = Site()
    site.railways.next = {DEV: ListedBackend("uid-one"), DEV_ANEW: ListedBackend("uid-one")}
    async with running(pool_at("dev"), instance_at("dev"), site=site):
        site.view.learn(pool_at("dev", "new", 2))
        await asyncio.sleep(UNUSED_SECONDS + 3 * LOOK_SECONDS)
        assert site.name_of(instance_at("dev")) == DEV_ANEW
        assert site.open == {"process", DEV_ANEW}


@pytest.mark.parametrize("error", [Transient("it does not answer"), Refused("TokenRejected", "it is not valid")])
@in_virtual_time
async def test_one_that_cannot_be_read_is_given_up_later(error: Exception) -> None:
    async with running(pool_at("dev")) as site:
        site.railways.backends[DEV][0].error = error
        site.view.forget(pool_at("dev"))
        await asyncio.sleep(2 * UNUSED_SECONDS)
        assert DEV in site.open
        await asyncio.sleep(UNREADABLE_SECONDS)
        assert DEV not in site.open


@in_virtual_time
async def test_at_the_end_what_was_opened_here_is_closed_and_what_was_open_before_is_not() -> None:
    async with running(pool_at("dev")) as site:
        backend = site.railways.backends[DEV][0]
        assert not backend.closed
    assert (backend.closed, site.local.closed, series(DEV)) == (True, False, None)
