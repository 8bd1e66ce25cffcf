"""The standalone API server as a process of its own, so that its CPU time is not the controller's."""

import asyncio
import signal
from pathlib import Path

import click
import uvloop

from controller.standalone import StandaloneServer


async def _serve(folder: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with StandaloneServer(folder):
        await stop.wait()


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True)
def main(folder: Path) -> None:
    """Serve from a directory until SIGTERM; its kubeconfig appears once it listens."""
    uvloop.run(_serve(folder))


if __name__ == "__main__":
    main()
