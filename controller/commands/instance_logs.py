"""agentpool logs: what an instance has written, wherever it runs."""

import importlib
import os
from dataclasses import dataclass

from controller.backends import KNOWN
from controller.commands.api_server import ApiServer, api_server
from controller.commands.invocation import Invocation, put_out
from controller.errors import Missing, Refused
from controller.model import AgentClaim, AgentInstance, InstancePhase
from controller.ports import Backend, BackendOptions
from controller.settings import Settings


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
    async with api_server(settings, order.namespace) as api:
        instance = await _instance(api, order)
        name = _backend_of(instance)
        installation = await api.installation_id()
    backend = await _open(name, BackendOptions(installation, settings.state_dir.absolute(), (), os.environ))
    try:
        invocation.end_when_unread()
        async for chunk in backend.logs(instance.metadata.uid, tail=order.tail, follow=order.follow):
            put_out(chunk)
    except Missing as error:
        raise Missing(_why_none(instance, error)) from None
    finally:
        await backend.close()


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


def _backend_of(instance: AgentInstance) -> str:
    spec = instance.spec.backend
    if (spec.process is None and spec.docker is None) or spec.name not in KNOWN:
        raise Refused(
            "UnknownBackend",
            f"instance {instance.metadata.name} runs on a backend that this agentpool does not know: use the version "
            "that its operator has",
        )
    return spec.name


async def _open(name: str, options: BackendOptions) -> Backend:
    """The backend, for reading beside the operator that runs it."""
    backend: Backend = await importlib.import_module(f"controller.backends.{name}").open_logs(options)
    return backend


def _why_none(instance: AgentInstance, error: Missing) -> str:
    name, status = instance.metadata.name, instance.status
    phase = InstancePhase.TERMINATING if instance.metadata.deleting else status.phase
    if phase in (InstancePhase.TERMINATING, InstancePhase.CRASHED):
        return f"instance {name} has ended, and its logs went with it ({phase})"
    if status.backend_id is None:
        return f"instance {name} is {phase or 'new'} and has written nothing yet: try again in a moment"
    remedy = (
        "run this on the operator's host, and name its directory with --state-dir"
        if instance.spec.backend.process is not None
        else "set DOCKER_HOST to the operator's engine"
    )
    return f"{error}, though {name} is {phase or 'new'}: {remedy}"
