"""The relist: the slow comparison of the view with the API server. Every repair means that a watch lost something."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from controller import metrics
from controller.errors import AgentpoolError, Missing, Refused, Reversed
from controller.model import KINDS, Resource
from controller.ports import Cluster
from controller.reconcile.view import View

log = logging.getLogger(__name__)

LAG_SECONDS = 10.0
"""A watch may be this late: only what is still missing then was lost."""

RETRY_SECONDS = 0.5
"""How soon a list that failed is asked for again."""


class Relist:
    """Fills the view at the start, and checks it now and then."""

    def __init__(self, cluster: Cluster, view: View, every_seconds: float) -> None:
        self._cluster = cluster
        self._view = view
        self._every_seconds = every_seconds

    async def fill(self) -> None:
        """Learn everything there is, and forget what is no more; raises what the API server says, and ``Reversed``.

        The answers hold every write that was done before. A view that followed a watch may be a little behind them:
        that is no mistake to be counted.
        """
        before = tuple(self._view.everything())
        listed: set[str] = set()
        for thing in await self._list():
            listed.add(thing.metadata.uid)
            self._view.learn(thing)
        for thing in await self._gone(thing for thing in before if thing.metadata.uid not in listed):
            self._view.forget(thing)

    async def fill_whenever(self, asked: asyncio.Event) -> None:
        """Fill it each time that this is set, until that has worked."""
        while True:
            await asked.wait()
            asked.clear()
            try:
                await self.fill()
            except Reversed:
                raise
            except AgentpoolError as error:
                log.warning("what no watch has told cannot be asked for yet: %s", error)
                asked.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def run(self) -> None:
        """Compare for ever."""
        while True:
            await asyncio.sleep(self._every_seconds)
            try:
                await self.compare()
            except Reversed:
                raise
            except AgentpoolError as error:
                log.warning("the view could not be compared with the API server: %s", error)

    async def compare(self) -> int:
        """Repair what the watches missed; answers how many objects that were. ``Reversed`` as from ``fill``."""
        before = {thing.metadata.uid: thing for thing in self._view.everything()}
        listed = await self._list()
        await asyncio.sleep(LAG_SECONDS)
        return self._learn_missed(listed) + await self._forget_missed(listed, before)

    async def _list(self) -> list[Resource]:
        """All objects of all kinds. ``Reversed`` if one of them is older than what was known before it was asked for.

        A list is never older than any answer before it. But an etcd that was restored holds objects as they were, even
        if the count of its revisions was raised so that watches notice; and the view would ignore them.
        """
        versions, buried = self._view.memory()
        listed: list[Resource] = []
        for kind in KINDS:
            listed.extend(await self._cluster.list(kind))
        for thing in listed:
            meta = thing.metadata
            if meta.uid in buried or meta.version < versions.get(meta.uid, 0):
                raise Reversed(
                    f"the API server has {thing.kind_name} {meta.namespace}/{meta.name} as it was at version "
                    f"{meta.version}, and has told of a later one, or of its end: its etcd was restored from an "
                    "earlier state"
                )
        return listed

    def _learn_missed(self, listed: Sequence[Resource]) -> int:
        return sum(self._count(thing) for thing in listed if self._view.learn(thing))

    async def _forget_missed(self, listed: Sequence[Resource], before: dict[str, Resource]) -> int:
        # Only what was known before the list began can be missing from it; what came since is newer than the list.
        uids = {thing.metadata.uid for thing in listed}
        gone = await self._gone(thing for uid, thing in before.items() if uid not in uids)
        return sum(self._count(thing) for thing in gone if self._view.forget(thing))

    async def _gone(self, missing: Iterable[Resource]) -> list[Resource]:
        """Those of what a list lacks that are gone: what does not fit our schema is left out of lists, too.

        All are looked for before the first is forgotten: a pool that goes alone would take its instances along.
        """
        return [thing for thing in missing if await self._is_gone(thing)]

    async def _is_gone(self, thing: Resource) -> bool:
        known = self._view.known(thing)
        if known is None or known.metadata.uid != thing.metadata.uid:
            return True
        try:
            found = await self._cluster.read(type(thing), *thing.key)
        except Missing:
            return True
        except Refused as error:
            log.error("%s %s/%s is left as it was last known: %s", thing.kind_name, *thing.key, error)
            return False
        self._view.learn(found)
        return found.metadata.uid != thing.metadata.uid

    def _count(self, thing: Resource) -> int:
        metrics.VIEW_REPAIRS.labels(thing.kind_name).inc()
        log.warning("the view was wrong about %s %s/%s and was repaired", thing.kind_name, *thing.key)
        return 1
