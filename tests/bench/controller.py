"""The controller process of the benchmark: the whole controller, with virtual instances instead of real ones."""

import asyncio
import cProfile
import os
import signal
import time
from pathlib import Path

import click
import uvloop

from controller import logs
from controller.app import serve
from controller.ports import FixedPlace
from controller.settings import Settings
from tests.bench.virtual import VirtualBackend


class Profile:
    """Runs cProfile from the start, anew from each SIGUSR1, and writes what it has at SIGUSR2 and at the end."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._profiler: cProfile.Profile | None = None

    def begin(self) -> None:
        """Forget what was measured so far and measure from here on."""
        if self._profiler is not None:
            self._profiler.disable()
        self._profiler = cProfile.Profile(time.process_time)
        self._profiler.enable()

    def end(self) -> None:
        """Write the file, once."""
        if self._profiler is not None:
            self._profiler.disable()
            self._profiler.dump_stats(self._file)
            self._profiler = None


async def _run(settings: Settings, world: str, profile: Profile | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if profile is not None:
        loop.add_signal_handler(signal.SIGUSR1, profile.begin)
        loop.add_signal_handler(signal.SIGUSR2, profile.end)
        profile.begin()
    backend = FixedPlace(VirtualBackend(world))
    try:
        await serve(settings, stop=stop, backends={"process": backend})
    finally:
        await backend.close()
        if profile is not None:
            profile.end()


@click.command()
@click.option("--kubeconfig", type=click.Path(path_type=Path), required=True)
@click.option("--namespace", required=True)
@click.option("--http-port", type=int, required=True)
@click.option("--state-dir", type=click.Path(path_type=Path), required=True)
@click.option("--world", required=True, help="URL of the virtual instances.")
def main(kubeconfig: Path, namespace: str, http_port: int, state_dir: Path, world: str) -> None:
    """Serve until SIGTERM; BENCH_PROFILE=FILE runs it under cProfile, AGENTPOOL_* sets what is not given here."""
    settings = Settings(
        kubeconfig=kubeconfig,
        namespaces=(namespace,),
        operator_namespace=namespace,
        http_host="127.0.0.1",
        http_port=http_port,
        state_dir=state_dir,
        log_format="json",
    )
    logs.configure(settings.log_format, settings.log_level)
    file = os.environ.get("BENCH_PROFILE")
    uvloop.run(_run(settings, world, Profile(Path(file)) if file else None))


if __name__ == "__main__":
    main()
