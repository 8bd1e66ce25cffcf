"""Starts the loopback conversation service: `python -m agent.loopback [--port N]`.

Environment: OPENCLAW_STATE_DIR, OPENCLAW_GATEWAY_TOKEN (optional here), XMTP_ENV, and the fault switches of
agent.loopback.faults.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.errors import SettingsError
from agent.log import Log, configure
from agent.loopback.account import Account
from agent.loopback.faults import Faults
from agent.loopback.service import Service
from agent.loopback.state import StateFiles
from agent.settings import Network, network, state_dir


@dataclass(frozen=True, slots=True)
class Options:
    """What the service was started with."""

    token: str | None
    network: Network
    state_dir: Path
    port: int
    faults: Faults
    announce_fd: int | None


def main(words: Sequence[str] | None = None) -> None:
    """Run the service until SIGTERM, or until the supervisor at the other end of the lifeline is gone."""
    parser = argparse.ArgumentParser(prog="agent.loopback", description="The loopback conversation service.")
    parser.add_argument("--port", type=int, default=0, help="listen on this port of 127.0.0.1; 0: any (default)")
    parser.add_argument("--announce-fd", type=int, help="write the port to this descriptor once it is listened on")
    parser.add_argument("--lifeline", action="store_true", help="end at once when standard input ends")
    arguments = parser.parse_args(words)
    if arguments.lifeline:
        # A thread, so that a blocked event loop does not keep an orphan alive.
        threading.Thread(target=_end_with_standard_input, name="lifeline", daemon=True).start()
    try:
        options = _options(arguments.port, arguments.announce_fd)
    except SettingsError as error:
        sys.stderr.write(f"agent.loopback: {error}\n")
        sys.exit(2)
    configure("gateway")
    sys.exit(asyncio.run(_serve(options, Log("gateway"))))


def _options(port: int, announce_fd: int | None) -> Options:
    return Options(
        token=os.environ.get("OPENCLAW_GATEWAY_TOKEN", "").strip() or None,
        network=network(os.environ),
        state_dir=state_dir(os.environ),
        port=port,
        faults=Faults.from_environment(os.environ),
        announce_fd=announce_fd,
    )


async def _serve(options: Options, log: Log) -> int:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    faults = options.faults
    if await _within(faults.boot_seconds, ending):
        return 0
    files = StateFiles(options.state_dir)
    account = Account(files, options.network, faults, now=time.time, randomness=secrets.token_bytes)
    service = Service(account, token=options.token, network=options.network, faults=faults, log=log)
    runner = web.AppRunner(service.application(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", options.port).start()
        port_number = runner.addresses[0][1]
        if options.announce_fd is not None:
            os.write(options.announce_fd, f"{port_number}\n".encode())
            os.close(options.announce_fd)
        else:
            log.info("listening", port=port_number, network=options.network)
        if faults.crash_after_seconds is None:
            await ending.wait()
        elif not await _within(faults.crash_after_seconds, ending):
            os._exit(1)
    except OSError as error:
        log.error("the gateway cannot listen", cause=error, port=options.port)
        return 1
    finally:
        await runner.cleanup()
    return 0


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Whether the event happens within the time; without time it does not."""
    if seconds <= 0:
        return False
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
