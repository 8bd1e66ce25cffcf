"""Runs an instance: the gateway beside the HTTP server, until a signal, an order or the gateway's end."""

from __future__ import annotations

import asyncio
import signal

from agent.durable import write_durably
from agent.gateway_process import GatewayEnd, GatewayProcess
from agent.log import Log
from agent.provision_record import UnreadableRecordError
from agent.settings import Settings


async def run(settings: Settings, log: Log) -> int:
    """Supervise until the end; the exit status of the process."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    port_file = settings.state_dir / "port"
    port_file.unlink(missing_ok=True)
    gateway = GatewayProcess(settings.gateway_command, log=log)
    supervision = asyncio.create_task(gateway.supervise())
    started = asyncio.create_task(gateway.started.wait())
    await asyncio.wait({supervision, started}, return_when=asyncio.FIRST_COMPLETED)
    # Imported only now: loading aiohttp takes as long here as in the gateway, which is loading it meanwhile.
    from agent.server import serving  # noqa: PLC0415

    end = asyncio.create_task(ending.wait())
    try:
        async with serving(settings, gateway, end=ending.set, log=log) as port:
            write_durably(port_file, f"{port}\n".encode(), mode=0o644)
            log.info("serving", host=settings.host, port=port, instance=settings.instance_id, network=settings.network)
            await asyncio.wait({supervision, end}, return_when=asyncio.FIRST_COMPLETED)
            log.info("ending")
    except UnreadableRecordError as error:
        log.error("this instance cannot tell whether it was provisioned: destroy it", reason=error)
        return 1
    except OSError as error:
        log.error("the instance cannot serve", cause=error, host=settings.host, port=settings.port)
        return 1
    finally:
        started.cancel()
        end.cancel()
        supervision.cancel()
        outcome, *_ = await asyncio.gather(supervision, started, end, return_exceptions=True)
        port_file.unlink(missing_ok=True)
    if isinstance(outcome, Exception):
        log.error("the gateway could not be started", cause=outcome)
        return 1
    return 1 if outcome is GatewayEnd.GAVE_UP else 0
