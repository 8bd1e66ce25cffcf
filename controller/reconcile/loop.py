"""The loop: puts the circle together and keeps it turning."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, assert_never

from controller import metrics
from controller.core.backoff import backoff
from controller.errors import Conflict, Missing, Refused, Transient
from controller.ports import Cluster, Ledger, Provider, Runtime
from controller.reconcile.apply import Apply
from controller.reconcile.bookkeeping import Bookkeeper
from controller.reconcile.claims import ClaimPass
from controller.reconcile.connections import Connections
from controller.reconcile.facts import Facts
from controller.reconcile.formerkey import FormerKey
from controller.reconcile.instances import InstancePass
from controller.reconcile.keys import Key, PassKind, orphans_key
from controller.reconcile.lanes import Lanes
from controller.reconcile.operations import Operations
from controller.reconcile.orphans import OrphansPass
from controller.reconcile.places import Places
from controller.reconcile.pools import PoolPass
from controller.reconcile.power import Power
from controller.reconcile.provisioning import Provisioner
from controller.reconcile.queue import KeyedQueue
from controller.reconcile.relist import Relist
from controller.reconcile.remotes import News
from controller.reconcile.routes import Routes
from controller.reconcile.secrets import Secrets
from controller.reconcile.tokens import Tokens
from controller.reconcile.view import View
from controller.reconcile.writes import Writes

log = logging.getLogger(__name__)

REFUSED_SECONDS = 30.0
"""What the API server refused is tried again this seldom: only a change of permissions or of the spec can help."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The world that a controller works on."""

    cluster: Cluster
    runtime: Runtime
    backends: Mapping[str, Provider]
    clock: Callable[[], datetime]
    random: Random
    ledger: Ledger | None = None
    """Where what happens is recorded; ``None``: nowhere."""
    serves: Callable[[str], bool] = lambda _: True
    """Whether this operator sees what is in that namespace."""
    recognised: Callable[[], Awaitable[bool]] | None = None
    """Whether the API server still knows this installation; ``None``: that is never in doubt."""
    former_key: FormerKey | None = None
    """Where the tokens of instances that an earlier version launched come from."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How often the slow rounds go; in seconds."""

    relist_seconds: float = 600.0
    orphan_grace_seconds: float = 60.0


class Controller:
    """One controller: give it ports, feed its view from a watch, and run it."""

    def __init__(self, ports: Ports, tuning: Tuning | None = None, view: View | None = None) -> None:
        tuning = tuning or Tuning()
        self.view = view if view is not None else View()
        """A warm one has followed a watch while another controller led; it is nobody else's from now on."""
        self.working = asyncio.Event()
        """Set once passes run on a complete view."""
        self._facts = Facts()
        self._failures: dict[Key, int] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._clock = ports.clock
        self._passes_done = {kind: metrics.PASSES.labels(kind, "done") for kind in PassKind}
        self.queue = KeyedQueue(self._pass)
        view, facts, clock = self.view, self._facts, ports.clock
        places, secrets = Places(view), Secrets(ports.cluster)
        self._routes = routes = Routes(view, places, facts, self.queue)
        news = News(routes.remote_changed, self._listed, routes.launch_admitted, places.in_use)
        self._connections = connections = Connections(ports.backends, secrets, places, view, news, clock)
        self._relist = Relist(ports.cluster, view, tuning.relist_seconds)
        self._bookkeeper = bookkeeper = Bookkeeper(view, ports.ledger, clock, routes.settled, routes.ledger_changed)
        lanes = Lanes()
        writes = Writes(ports.cluster, view, lanes)
        power = Power(connections, view)
        tokens = Tokens(ports.cluster, ports.runtime, facts, lanes, ports.random, ports.former_key)
        provisioner = Provisioner(ports.cluster, secrets, ports.runtime, tokens, power, view, facts, clock)
        operations = Operations(
            ports.runtime, connections, provisioner, tokens, view, facts, clock, routes.suspicion_changed
        )
        apply = Apply(writes, operations, power, provisioner, bookkeeper, view, facts, ports.random)
        self._pools = PoolPass(view, facts, connections, apply, writes, bookkeeper, self.queue, clock, self._spawn)
        self._instances = InstancePass(
            view, facts, connections, apply, writes, bookkeeper, provisioner.discretion, clock
        )
        self._claims = ClaimPass(view, facts, apply, writes, bookkeeper, clock, self._spawn)
        self._orphans = OrphansPass(
            *(view, connections, operations, clock, tuning.orphan_grace_seconds, ports.serves, ports.recognised)
        )

    async def fill(self) -> None:
        """Learn everything that the API server has, so that all of it is looked at; raises what it says."""
        # What a warm view knew before this controller listened to it.
        for thing in tuple(self.view.everything()):
            self._routes.changed(None, thing)
        # Before the lists, so that the end of what they lack is recorded, too.
        self._bookkeeper.begin()
        await self._relist.fill()

    async def run(self) -> None:
        """Turn the circle until cancelled; call it once the view is filled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.queue.run(), name="queue")
            try:
                await self._connections.start()
                tasks.create_task(self._connections.run(), name="connections")
                tasks.create_task(self._relist.run(), name="relist")
                tasks.create_task(self._bookkeeper.run(), name="bookkeeper")
                self.queue.release()
                self.working.set()
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            # Stopping: what was decided now is decided again after the next start.
            work.close()
        else:
            # A task that is cancelled before its first step never gets to its work, which then has to be closed.
            self._tasks.create_task(self._guard(work)).add_done_callback(lambda _: work.close())

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            # A mistake of ours must not end the controller for everybody; the next pass decides anew.
            log.exception("a write failed in a way that was not foreseen")

    def _listed(self, place: str) -> None:
        self._routes.backend_listed(place)
        self.queue.add(orphans_key(place))

    async def _pass(self, key: Key) -> float | None:
        metrics.QUEUE_DEPTH.set(len(self.queue))
        try:
            again = await self._run(key)
        except Conflict as error:
            log.info("%s %s/%s: met a newer version, running again: %s", *key, error)
            return self._after(key, "conflict", 0.05)
        except Transient as error:
            log.warning("%s %s/%s: failed and is tried again: %s", *key, error)
            return self._after(key, "transient", error.retry_after)
        except Missing as error:
            log.info("%s %s/%s: gone meanwhile: %s", *key, error)
            return self._after(key, "missing", None)
        except Refused as error:
            log.error("%s %s/%s: refused (%s): %s", *key, error.reason, error)
            return self._after(key, "refused", REFUSED_SECONDS)
        except Exception:
            log.exception("%s %s/%s: failed in a way that was not foreseen", *key)
            return self._after(key, "error", None)
        self._passes_done[key.kind].inc()
        self._failures.pop(key, None)
        return again

    def _after(self, key: Key, outcome: str, seconds: float | None) -> float:
        metrics.PASSES.labels(key.kind, outcome).inc()
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return max(seconds or 0.0, backoff(failures) if outcome != "conflict" or failures > 3 else 0.0)

    async def _run(self, key: Key) -> float | None:
        match key.kind:
            case PassKind.POOL:
                return await self._pools.run(key)
            case PassKind.BIND:
                return await self._pools.bind(key)
            case PassKind.INSTANCE:
                return await self._instances.run(key)
            case PassKind.CLAIM:
                return await self._claims.run(key)
            case PassKind.ORPHANS:
                return await self._orphans.run(key)
            case _:
                assert_never(key.kind)
