"""Runs an instance: the gateway beside the HTTP server, until a signal, an order or the gateway's end."""

from __future__ import annotations

import asyncio
import signal
import sys
from urllib.parse import urlsplit

from agent.authorities import unread_unless
from agent.durable import write_durably
from agent.gateway import Gateway
from agent.gateway_process import GatewayEnd, GatewayProcess
from agent.log import Log
from agent.offspring import Main
from agent.provision_record import UnreadableRecordError
from agent.settings import Settings

SETTLE_SECONDS = 2.0


async def run(settings: Settings, kind: Gateway, log: Log) -> int:
    """Supervise until the end; the exit status of the process."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    with unread_unless(_asks_over_tls(settings)):
        program = _loaded(kind)
    port_file = settings.state_dir / "port"
    gateway = GatewayProcess(
        kind.command,
        environment=kind.environment,
        directory=kind.directory,
        program=program,
        grace_seconds=kind.grace_seconds,
        log=log,
    )
    supervision = asyncio.create_task(gateway.supervise())
    try:
        port_file.unlink(missing_ok=True)
        await _first_of(supervision, gateway.started)
        await _serve(settings, kind, gateway, supervision, ending, log)
    except UnreadableRecordError as error:
        log.error("this instance cannot tell whether it was provisioned: destroy it", reason=error)
        return 1
    except OSError as error:
        log.error("the instance cannot serve", cause=error, host=settings.host, port=settings.port)
        return 1
    finally:
        outcome = await _end(supervision)
        port_file.unlink(missing_ok=True)
    if isinstance(outcome, Exception):
        log.error("the gateway could not be started", cause=outcome)
        return 1
    return 1 if outcome is GatewayEnd.GAVE_UP else 0


def _loaded(kind: Gateway) -> Main | None:
    """What is to run in a fork, and with it aiohttp, which the server needs as well. Off Linux forks are fragile."""
    return kind.load() if kind.load is not None and sys.platform == "linux" else None


def _asks_over_tls(settings: Settings) -> bool:
    """The pool is all that an instance ever asks over TLS."""
    return urlsplit(settings.pool_url or "").scheme == "https"


async def _serve(
    settings: Settings,
    kind: Gateway,
    gateway: GatewayProcess,
    supervision: asyncio.Task[GatewayEnd],
    ending: asyncio.Event,
    log: Log,
) -> None:
    # Imported only now: a gateway that loads itself does so meanwhile, and one that is a fork has loaded most of it.
    with unread_unless(_asks_over_tls(settings)):
        from agent.server import serving  # noqa: PLC0415

    async with serving(settings, kind, gateway, end=ending.set, log=log) as server:
        write_durably(settings.state_dir / "port", f"{server.port}\n".encode(), mode=0o644)
        log.info("serving", host=settings.host, port=server.port, instance=settings.instance_id, env=settings.network)
        await _first_of(supervision, ending)
        log.info("ending")
        await server.provisioner.settle(SETTLE_SECONDS)
        # The gateway first: its end closes the streams that the server would otherwise wait for.
        await _end(supervision)


async def _first_of(supervision: asyncio.Task[GatewayEnd], event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({supervision, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _end(supervision: asyncio.Task[GatewayEnd]) -> GatewayEnd | BaseException:
    supervision.cancel()
    (outcome,) = await asyncio.gather(supervision, return_exceptions=True)
    return outcome
