"""agentpool logs: what an instance has written, wherever it runs."""

import importlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from controller.backends import KNOWN
from controller.commands.api_server import ApiServer, api_server
from controller.commands.invocation import Invocation, put_out
from controller.errors import Missing, Refused
from controller.model import AgentClaim, AgentInstance, AgentPool, BackendSpec, InstancePhase
from controller.ports import Backend, BackendOptions, FixedPlace, Place, Provider
from controller.reconcile.places import way_in
from controller.settings import Settings

_REMEDIES = {
    "process": "run this on the operator's host, and name its directory with --state-dir",
    "docker": "set DOCKER_HOST to the operator's engine",
    "railway": "somebody may have removed its service at Railway, see the conditions of its pool",
}


@dataclass(frozen=True, slots=True)
class LogsOrder:
    """Whose logs, and how much of them."""

    name: str
    is_claim: bool
    namespace: str | None
    tail: int | None
    follow: bool


async def show_logs(order: LogsOrder, settings: Settings, invocation: Invocation) -> None:
    """Write the logs to standard output, byte by byte as they are."""
    # Its place may ask for a Secret for as long as it is read.
    async with api_server(settings, order.namespace) as api:
        instance = await _instance(api, order)
        spec = await _way_in(api, instance)
        options = BackendOptions(await api.installation_id(), settings.state_dir.absolute(), (), os.environ)
        async with _opened(Place(spec.place(api.namespace), spec, api.secret), options) as backend:
            invocation.end_when_unread()
            try:
                async for chunk in backend.logs(instance.metadata.uid, tail=order.tail, follow=order.follow):
                    put_out(chunk)
            except Missing as error:
                raise Missing(_why_none(instance, error)) from None


async def _instance(api: ApiServer, order: LogsOrder) -> AgentInstance:
    if not order.is_claim:
        return await api.read(AgentInstance, order.name)
    claim = await api.read(AgentClaim, order.name)
    if claim.status.instance is None:
        raise Missing(
            f"claim {order.name} has no instance: it is {claim.status.phase or 'new'}"
            + (f" ({claim.status.message})" if claim.status.message else "")
        )
    return await api.read(AgentInstance, claim.status.instance)


async def _way_in(api: ApiServer, instance: AgentInstance) -> BackendSpec:
    spec = instance.spec.backend
    if (spec.process is None and spec.docker is None and spec.railway is None) or spec.name not in KNOWN:
        raise Refused(
            "UnknownBackend",
            f"instance {instance.metadata.name} runs on a backend that this agentpool does not know: use the version "
            "that its operator has",
        )
    if spec.railway is None:
        return spec
    try:
        return way_in(spec, await api.read(AgentPool, instance.spec.pool))
    except (Missing, Refused):
        # It is gone, or not for this person's eyes: the way in that the instance was made with may still do.
        return spec


@asynccontextmanager
async def _opened(place: Place, options: BackendOptions) -> AsyncIterator[Backend]:
    """The backend at a place, for reading beside the operator that runs it."""
    module = importlib.import_module(f"controller.backends.{place.spec.name}")
    provider: Provider = await module.open_logs(options)
    backend = provider.connect(place)
    try:
        yield backend
    finally:
        if not isinstance(provider, FixedPlace):
            await backend.close()
        await provider.close()


def _why_none(instance: AgentInstance, error: Missing) -> str:
    name, status = instance.metadata.name, instance.status
    phase = InstancePhase.TERMINATING if instance.metadata.deleting else status.phase
    if phase in (InstancePhase.TERMINATING, InstancePhase.CRASHED):
        return f"instance {name} has ended, and its logs went with it ({phase})"
    if status.backend_id is None:
        return f"instance {name} is {phase or 'new'} and has written nothing yet: try again in a moment"
    return f"{error}, though {name} is {phase or 'new'}: {_REMEDIES[instance.spec.backend.name]}"
