"""The informer itself, when a watch has missed a deletion: the API server has forgotten it, and says 410."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controller.errors import Transient
from controller.kube.client import KubeCluster
from controller.kube.connection import connect
from controller.kube.history import History
from controller.kube.watch import Watch
from controller.model import AgentClaim, Resource
from controller.reconcile.relist import Relist
from controller.reconcile.view import View
from tests.cluster.conftest import DEADLINE, eventually
from tests.e2e.api import Api
from tests.e2e.system import create_namespace, unique
from tests.faults.apiproxy import ApiProxy
from tests.faults.asked import Asked
from tests.faults.effects import expire, gone, refuse
from tests.faults.rules import Rule, watches
from tests.faults.run import World

pytestmark = pytest.mark.cluster


class Follower:
    """A view that follows the API server through a proxy."""

    def __init__(self, proxy: ApiProxy, api: Api) -> None:
        self.proxy, self.api, self.view = proxy, api, View()
        self.stop, self.ready = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until ``stop`` is set."""
        namespaces, relisted = (self.api.namespace,), asyncio.Event()
        connection = await connect(self.proxy.kubeconfig, None)
        async with KubeCluster(connection, namespaces) as cluster:
            relist = Relist(cluster, self.view, 600)
            await relist.fill()
            is_news, goes_on = self.view.is_news, History(cluster).goes_on
            watch = Watch(connection, namespaces, self._deliver, is_news, self.stop, relisted, goes_on)
            refilling = asyncio.create_task(relist.fill_whenever(relisted))
            try:
                await watch.run(self.stop, self.ready)
            finally:
                refilling.cancel()

    def claim(self, name: str) -> None:
        self.api.create("agentclaims", name, spec={"pool": "nobody"})

    async def until_it_knows(self, *names: str) -> None:
        async def check() -> bool:
            claims = [thing for thing in self.view.everything() if isinstance(thing, AgentClaim)]
            return {thing.metadata.name for thing in claims} == set(names)

        await eventually(check)

    async def until_it_watches(self) -> None:
        async def check() -> bool:
            return len(self.proxy.watched) == 3

        await eventually(check)

    def _deliver(self, thing: Resource, deleted: bool) -> None:
        (self.view.forget if deleted else self.view.learn)(thing)


@pytest.fixture
async def follower(world: World, tmp_path: Path) -> AsyncIterator[Follower]:
    api = Api(world.server.kubeconfig, unique("relist"))
    create_namespace(api)
    proxy = ApiProxy("informer", world.server.kubeconfig, tmp_path)
    await proxy.start()
    yield Follower(proxy, api)
    await proxy.stop()
    for item in api.all("agentclaims"):
        api.delete("agentclaims", item["metadata"]["name"])
    api.http.delete(f"/api/v1/namespaces/{api.namespace}")
    api.http.close()


async def test_a_deletion_that_no_watch_told_of_is_noticed_when_the_watch_begins_anew(follower: Follower) -> None:
    follower.claim("only")
    running = asyncio.create_task(follower.run())
    await follower.until_it_watches()
    await follower.until_it_knows("only")
    away = follower.proxy.add(Rule(watches, refuse(503, "ServiceUnavailable", "starting"), times=None))
    follower.proxy.cut_watches()
    follower.api.delete("agentclaims", "only")
    follower.proxy.add(Rule(watches, expire(), times=3))
    follower.proxy.rules.remove(away)
    await follower.until_it_knows()
    follower.claim("next")
    await follower.until_it_knows("next")
    follower.stop.set()
    await running


async def test_a_watch_that_is_refused_as_too_old_ends_with_a_sentence(follower: Follower) -> None:
    running = asyncio.create_task(follower.run())
    await follower.until_it_watches()
    follower.proxy.add(Rule(watches, gone()))
    follower.proxy.cut_watches()
    with pytest.raises(Transient, match="the API server ended a watch: too old resource version"):
        await running


def lists(asked: Asked) -> bool:
    return asked.verb == "list"


async def test_a_watch_is_ready_once_a_deletion_cannot_be_missed_any_more(follower: Follower) -> None:
    """What goes between the list that filled the view and the one that a watch begins with, no watch tells of. Whoever
    fills the view again when the watch is ready learns of it."""
    follower.claim("only")
    # The first three are those that fill the view.
    away = follower.proxy.add(Rule(lists, refuse(503, "ServiceUnavailable", "starting"), times=None, after=3))
    running = asyncio.create_task(follower.run())

    async def refused() -> bool:
        return away.struck >= 6

    await eventually(refused)
    assert not follower.ready.is_set()
    follower.api.delete("agentclaims", "only")
    follower.proxy.rules.remove(away)
    async with asyncio.timeout(DEADLINE):
        await follower.ready.wait()
    connection = await connect(follower.proxy.kubeconfig, None)
    async with KubeCluster(connection, (follower.api.namespace,)) as cluster:
        await Relist(cluster, follower.view, 600).fill()
    await follower.until_it_knows()
    follower.stop.set()
    await running
