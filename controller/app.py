"""The composition root: puts ports and controller together, and keeps them going until told to stop."""

import asyncio
import gc
import importlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import SystemRandom

from controller.core.backoff import backoff
from controller.errors import AgentpoolError, Misconfigured, Missing, Unusable
from controller.http.probes import Probes
from controller.http.webhooks import RailwayWebhooks
from controller.kube.client import KubeCluster
from controller.kube.connection import Connection, connect
from controller.kube.installation import installation_secret
from controller.kube.watch import Watch
from controller.model import Resource
from controller.ports import BackendOptions, Provider, TakesHints
from controller.reconcile.credentials import Installation
from controller.reconcile.loop import Controller, Ports, Tuning
from controller.runtime import HttpRuntime
from controller.settings import Settings

log = logging.getLogger(__name__)

AGENT_COMMAND = (sys.executable, "-m", "agent")
"""What a template without a command runs."""


async def serve(settings: Settings, *, stop: asyncio.Event, backends: Mapping[str, Provider] | None = None) -> None:
    """Operate until ``stop`` is set. Raises ``Misconfigured`` for what only a person can mend."""
    # Thousands of small objects live for long: Python's own thresholds would walk them all many times a second.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    service = _Service(settings, stop, backends)
    secret = settings.webhook_secret
    webhooks = RailwayWebhooks(secret.get_secret_value(), service.hint) if secret is not None else None
    probes = Probes(
        settings.http_host, settings.http_port, why_not_ready=lambda: service.why_not_ready, webhooks=webhooks
    )
    await probes.start()
    try:
        await service.run()
    finally:
        await probes.stop()


class _Service:
    def __init__(self, settings: Settings, stop: asyncio.Event, backends: Mapping[str, Provider] | None) -> None:
        self._settings = settings
        self._stop = stop
        self._given = backends
        self._providers: Mapping[str, Provider] = {}
        self.why_not_ready: str | None = "the API server was not reached yet"

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
            installation = await self._installation(cluster)
            if installation is None:
                return
            async with self._backends(installation) as self._providers:
                while not self._stop.is_set():
                    runtime = HttpRuntime()
                    ports = Ports(
                        cluster, runtime, self._providers, installation, lambda: datetime.now(UTC), SystemRandom()
                    )
                    try:
                        await self._turn(connection, ports)
                        return
                    except Exception as error:
                        failures += 1
                        if _is_foreseen(error):
                            log.warning("beginning anew: %s", _sentence(error))
                        else:
                            log.exception("the controller broke and begins anew")
                    finally:
                        self.why_not_ready = "the controller is starting"
                        await runtime.close()
                    await self._pause(backoff(failures))

    async def _installation(self, cluster: KubeCluster) -> Installation | None:
        failures = 0
        while not self._stop.is_set():
            try:
                identity, key = await installation_secret(cluster, self._settings.operator_namespace)
                return Installation(identity, key)
            except Misconfigured:
                raise
            except AgentpoolError as error:
                failures += 1
                await self._explain(str(error), failures)
        return None

    async def _turn(self, connection: Connection, ports: Ports) -> None:
        settings = self._settings
        tuning = Tuning(settings.relist_seconds, settings.orphan_grace_seconds)
        controller = Controller(ports, tuning)

        def deliver(thing: Resource, deleted: bool) -> None:
            (controller.view.forget if deleted else controller.view.learn)(thing)

        failures = 0
        while not self._stop.is_set():
            try:
                await controller.fill()
                break
            except Missing:
                failures += 1
                await self._explain("the CRDs are not installed: run 'kubectl apply -f crds/'", failures)
            except AgentpoolError as error:
                failures += 1
                await self._explain(str(error), failures)
        if self._stop.is_set():
            return
        watch = Watch(connection, settings.namespaces, deliver, controller.view.is_news, self._stop)
        opened, closing = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run(closing, opened), name="watch")
            running = tasks.create_task(controller.run(), name="controller")
            telling = tasks.create_task(self._tell_ready(opened, controller), name="readiness")
            stopping = tasks.create_task(self._wait_for_stop(), name="stop")
            await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            log.info("stopping: instances go on, and are found again at the next start")
            running.cancel()
            telling.cancel()
            await asyncio.wait({running, telling})
            closing.set()

    async def _wait_for_stop(self) -> None:
        await self._stop.wait()

    async def _tell_ready(self, opened: asyncio.Event, controller: Controller) -> None:
        await opened.wait()
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
    async def _backends(self, installation: Installation) -> AsyncIterator[Mapping[str, Provider]]:
        if self._given is not None:
            yield self._given
            return
        options = BackendOptions(installation.id, self._settings.state_dir, AGENT_COMMAND, os.environ)
        opened: dict[str, Provider] = {}
        try:
            for name in self._settings.backends:
                module = importlib.import_module(f"controller.backends.{name}")
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


def _is_foreseen(error: BaseException) -> bool:
    """Whether it is nothing but what the world did to us, for which a sentence will do."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_foreseen(inner) for inner in error.exceptions)
    return isinstance(error, AgentpoolError)


def _sentence(error: BaseException) -> str:
    return "; ".join(map(_sentence, error.exceptions)) if isinstance(error, BaseExceptionGroup) else str(error)
