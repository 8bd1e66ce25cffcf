"""The composition root: puts ports and controller together, and keeps them going until told to stop."""

import asyncio
import gc
import importlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import SystemRandom

from controller.calendar import Calendar
from controller.core.backoff import backoff
from controller.core.election import Terms
from controller.errors import AgentpoolError, Misconfigured, Reversed, Unusable
from controller.http.probes import Probes
from controller.http.webhooks import RailwayWebhooks
from controller.kube.client import KubeCluster
from controller.kube.connection import Connection, connect
from controller.kube.history import History
from controller.kube.installation import Installation, installation, recognises
from controller.kube.lease import Elected, KubeLease, Leadership, Sole, own_name, steady_clock
from controller.kube.watch import Watch
from controller.ledger import open_ledger
from controller.model import Resource
from controller.ports import BackendOptions, Fence, Ledger, Provider, TakesHints
from controller.reconcile.fence import FencedCluster, FencedRuntime, fenced
from controller.reconcile.formerkey import FormerKey
from controller.reconcile.loop import Controller, Ports, Tuning
from controller.reconcile.relist import Relist
from controller.reconcile.view import View
from controller.runtime import HttpRuntime
from controller.settings import Settings

log = logging.getLogger(__name__)

AGENT_COMMAND = (sys.executable, "-m", "agent")
"""What a template without a command runs."""


async def serve(
    settings: Settings, *, stop: asyncio.Event, backends: Mapping[str, Provider] | None = None, sole: bool = False
) -> None:
    """Operate until ``stop`` is set. Raises ``Misconfigured`` for what only a person can mend.

    A ``sole`` operator leads without asking; others stand by until they get the Lease.
    """
    # Thousands of small objects live for long: Python's own thresholds would walk them all many times a second.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    service = _Service(settings, stop, backends, sole=sole)
    secret = settings.webhook_secret
    webhooks = RailwayWebhooks(secret.get_secret_value(), service.hint) if secret is not None else None
    probes = Probes(
        settings.http_host,
        settings.http_port,
        why_not_ready=lambda: service.why_not_ready,
        standing_by=lambda: service.standing_by,
        webhooks=webhooks,
    )
    await probes.start()
    try:
        await service.run()
    finally:
        await probes.stop()


class _Service:
    """Turn after turn: fill a view, stand by with it, lead, and step down."""

    def __init__(
        self, settings: Settings, stop: asyncio.Event, backends: Mapping[str, Provider] | None, *, sole: bool
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._given = backends
        self._sole = sole
        # Before it matters: whoever takes over has no time for imports.
        self._modules = {name: importlib.import_module(f"controller.backends.{name}") for name in settings.backends}
        self._providers: Mapping[str, Provider] = {}
        """Open while this process leads."""
        self._ledger: Ledger | None = None
        self._calendar = Calendar(steady_clock)
        self.why_not_ready: str | None = "the API server was not reached yet"
        self.standing_by: str | None = None
        """Who leads, while another one does."""

    def hint(self, project_id: str | None, environment_id: str | None, service_id: str | None) -> None:
        """Something happened at one of Railway's places: whoever wants to know is told."""
        for provider in self._providers.values():
            if isinstance(provider, TakesHints):
                provider.hinted(project_id, environment_id, service_id)

    async def run(self) -> None:
        """Serve; when a part of it breaks, begin anew from what the API server and the backends say."""
        settings = self._settings
        connection = await connect(settings.kubeconfig, settings.context)
        failures = 0
        async with KubeCluster(connection, settings.namespaces) as cluster:
            founded = await self._installation(cluster)
            if founded is None:
                return
            leadership = self._leadership(cluster)
            async with self._open_ledger() as self._ledger:
                while not self._stop.is_set():
                    try:
                        await self._turn(connection, cluster, leadership, founded)
                        continue
                    except Exception as error:
                        if (mistake := _misconfiguration(error)) is not None:
                            raise mistake from None
                        failures += 1
                        if _is_foreseen(error):
                            log.warning("beginning anew: %s", _sentence(error))
                        else:
                            log.exception("the controller broke and begins anew")
                    finally:
                        self.why_not_ready, self.standing_by = "the controller is starting", None
                    await self._pause(backoff(failures))

    def _leadership(self, cluster: KubeCluster) -> Leadership:
        if self._sole:
            return Sole()
        settings = self._settings
        terms = Terms(
            duration_seconds=settings.lease_duration_seconds,
            renew_seconds=settings.lease_renew_seconds,
            poll_seconds=settings.lease_poll_seconds,
            margin_seconds=settings.lease_margin_seconds,
        )
        lease = KubeLease(cluster, settings.operator_namespace, settings.lease_name)
        return Elected(lease, own_name(), terms, self._stand_by)

    def _stand_by(self, well: bool, sentence: str) -> None:
        self.why_not_ready, self.standing_by = (None, sentence) if well else (sentence, None)

    async def _installation(self, cluster: KubeCluster) -> Installation | None:
        failures = 0
        while not self._stop.is_set():
            try:
                return await installation(cluster, self._settings.operator_namespace)
            except Misconfigured:
                raise
            except AgentpoolError as error:
                failures += 1
                await self._explain(str(error), failures)
        return None

    async def _turn(
        self, connection: Connection, cluster: KubeCluster, leadership: Leadership, founded: Installation
    ) -> None:
        """From an empty view to the end of a term: the lead is lost, or the program is told to stop.

        The next turn begins with nothing of this one: what a leader took for certain may be wrong by then.
        """
        view, relisted = View(), asyncio.Event()
        relist = Relist(cluster, view, self._settings.relist_seconds)
        await self._patiently(relist.fill)
        self._calendar.follow()
        self._calendar.agree(cluster.date)
        if self._stop.is_set():
            return

        def deliver(thing: Resource, deleted: bool) -> None:
            (view.forget if deleted else view.learn)(thing)

        history = History(cluster)
        watch = Watch(
            connection, self._settings.namespaces, deliver, view.is_news, self._stop, relisted, history.goes_on
        )
        opened, closing = asyncio.Event(), asyncio.Event()

        async def lead() -> None:
            await opened.wait()
            await leadership.lead(lambda fence: self._term(view, cluster, founded, fence))

        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run(closing, opened), name="watch")
            leading = tasks.create_task(lead(), name="lead")
            stopping = tasks.create_task(self._stop.wait(), name="stop")
            setting = tasks.create_task(self._calendar.until_set(), name="calendar")
            reversing = tasks.create_task(history.until_reversed(), name="history")
            refilling = tasks.create_task(relist.fill_whenever(relisted), name="refill")
            ends = {watching, leading, stopping, setting, reversing}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                log.info("stopping: instances go on, and are found again at the next start")
            # First of all: another operator waits for the lead.
            leading.cancel()
            await asyncio.wait({leading})
            for task in (stopping, setting, reversing, refilling):
                task.cancel()
            closing.set()

    async def _term(self, view: View, cluster: KubeCluster, founded: Installation, fence: Fence) -> None:
        """Control, until cancelled: the view is made complete, and backends are opened by nobody but who leads."""
        self.why_not_ready, self.standing_by = "the controller is starting", None
        runtime = HttpRuntime()
        try:
            async with self._backends(founded.id) as self._providers:
                ports = Ports(
                    cluster=FencedCluster(cluster, fence),
                    runtime=FencedRuntime(runtime, fence),
                    backends={name: fenced(provider, fence) for name, provider in self._providers.items()},
                    clock=self._calendar,
                    random=SystemRandom(),
                    ledger=self._ledger,
                    serves=lambda namespace: namespace in (self._settings.namespaces or {namespace}),
                    recognised=lambda: recognises(cluster, self._settings.operator_namespace, founded),
                    former_key=FormerKey(founded.former_key) if founded.former_key is not None else None,
                )
                tuning = Tuning(self._settings.relist_seconds, self._settings.orphan_grace_seconds)
                controller = Controller(ports, tuning, view)
                await self._patiently(controller.fill)
                if self._stop.is_set():
                    return
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(controller.run(), name="controller")
                    tasks.create_task(self._tell_ready(controller), name="readiness")
        finally:
            self._providers = {}
            self.why_not_ready = "the controller is starting"
            await runtime.close()

    async def _patiently(self, fill: Callable[[], Awaitable[None]]) -> None:
        """Fill the view, however long the API server takes to be there with all that is needed."""
        failures = 0
        while not self._stop.is_set():
            try:
                await fill()
                break
            except Reversed:
                raise
            except AgentpoolError as error:
                failures += 1
                await self._explain(str(error), failures)

    async def _tell_ready(self, controller: Controller) -> None:
        await controller.working.wait()
        self.why_not_ready = None
        log.info("ready")

    async def _explain(self, sentence: str, failures: int) -> None:
        self.why_not_ready = sentence
        seconds = backoff(failures, first=0.5, limit=10.0)
        log.warning("not ready, trying again in %g s: %s", seconds, sentence)
        await self._pause(seconds)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    @asynccontextmanager
    async def _open_ledger(self) -> AsyncIterator[Ledger | None]:
        """The ledger, for the life of this process: what waits in its queue is delivered also by who stands by."""
        options = self._settings.ledger_options()
        if options is None:
            yield None
            return
        ledger = open_ledger(options, self._calendar)
        delivering = asyncio.create_task(ledger.run(), name="ledger")
        try:
            yield ledger
        finally:
            delivering.cancel()
            await asyncio.wait({delivering})
            await ledger.close()

    @asynccontextmanager
    async def _backends(self, identity: str) -> AsyncIterator[Mapping[str, Provider]]:
        if self._given is not None:
            yield self._given
            return
        options = BackendOptions(identity, self._settings.state_dir, AGENT_COMMAND, os.environ)
        opened: dict[str, Provider] = {}
        try:
            for name, module in self._modules.items():
                try:
                    opened[name] = await module.open_backend(options)
                except Unusable as error:
                    if "backends" in self._settings.model_fields_set:
                        raise
                    log.warning("backend %s is left out: %s", name, error)
            yield opened
        finally:
            for provider in opened.values():
                await provider.close()


def _misconfiguration(error: BaseException) -> Misconfigured | None:
    """What only a person can mend, wherever in the error it is."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _misconfiguration(inner)) is not None), None)
    return error if isinstance(error, Misconfigured) else None


def _is_foreseen(error: BaseException) -> bool:
    """Whether it is nothing but what the world did to us, for which a sentence will do."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_foreseen(inner) for inner in error.exceptions)
    return isinstance(error, AgentpoolError)


def _sentence(error: BaseException) -> str:
    return "; ".join(map(_sentence, error.exceptions)) if isinstance(error, BaseExceptionGroup) else str(error)
