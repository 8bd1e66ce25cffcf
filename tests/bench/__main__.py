"""The command line of the benchmark."""

import asyncio
import secrets
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
import uvloop

from controller.errors import Misconfigured
from tests.bench import report
from tests.bench.api import Access, ApiServer
from tests.bench.catalogue import SCENARIOS, runnable
from tests.bench.docker_scenarios import DOCKER_SCENARIOS
from tests.bench.engines import running_engine, why_none
from tests.bench.figures import Result, summarized
from tests.bench.servers import chosen, serving
from tests.bench.stage import Setting
from tests.docker.api import EngineError

Measured = tuple[list[Result], dict[str, Any]]
"""Every run, and the circumstances."""


async def _measure(
    server_choice: str,
    names: Sequence[str],
    repeat: int,
    controller: Sequence[str],
    profiles: Path | None,
    logs: Path | None,
) -> Measured:
    with tempfile.TemporaryDirectory(prefix="agentpool-bench-") as temporary:
        folder = Path(temporary)
        async with serving(server_choice, folder) as server:
            api = ApiServer(Access.read(server.kubeconfig), f"bench-{secrets.token_hex(4)}")
            try:
                told = report.circumstances(server.kind, await api.version())
                await api.install()
                setting = Setting(server, folder, api, controller, profiles, logs)
                runs = await _run(setting, [name for name in names if name not in DOCKER_SCENARIOS], repeat)
                if on_engine := [name for name in names if name in DOCKER_SCENARIOS]:
                    runs += await _run_on_engine(setting, on_engine, repeat, told)
            finally:
                await api.remove_namespace()
                await api.close()
    return runs, told


async def _run(setting: Setting, names: Sequence[str], repeat: int) -> list[Result]:
    runs = []
    for round_number in range(1, repeat + 1):
        for name in names:
            click.echo(f"{name}, run {round_number} of {repeat} ...", err=True)
            runs.append(await SCENARIOS[name].run(setting))
            if not runs[-1].passed:
                click.echo("  " + "; ".join([*runs[-1].faults, runs[-1].unfinished or ""]), err=True)
    return runs


async def _run_on_engine(setting: Setting, names: Sequence[str], repeat: int, told: dict[str, Any]) -> list[Result]:
    """After all others, so that an engine of the bench's own takes nothing from them."""
    click.echo("a Docker engine and the agent's image ...", err=True)
    try:
        with running_engine(setting.folder) as engine:
            told["engine"] = {"kind": engine.kind, "version": engine.version}
            return await _run(replace(setting, engine=engine), names, repeat)
    except EngineError as error:
        return [Result(name, {}, unfinished=str(error)) for name in names]


async def _interruptible(measuring: asyncio.Task[Measured]) -> Measured:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    return await measuring


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    names = value.split(",")
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise click.BadParameter(f"there is no {', '.join(unknown)}: choose from {', '.join(SCENARIOS)}")
    return names


@click.command()
@click.option(
    "--server",
    metavar="standalone|KUBECONFIG|DIR",
    help="A running API server, a directory with start and stop scripts of a genuine one, or the project's own. "
    "Default: AGENTPOOL_BENCH_KUBECONFIG, else AGENTPOOL_ENVTEST, else standalone.",
)
@click.option(
    "--scenario",
    "asked",
    callback=_names,
    metavar="NAME,...",
    help=f"Of {', '.join(SCENARIOS)}. Default: all that can run here; docker-* need a Docker engine.",
)
@click.option("--repeat", type=click.IntRange(min=1), default=1, help="Runs of each scenario; medians are shown.")
@click.option("--json", "json", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures to this file.")
@click.option(
    "--profile",
    "profiles",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run the controller under cProfile and write SCENARIO.prof to this directory. Its figures are too high then.",
)
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the controller's log of each scenario's last run in this directory.",
)
@click.option(
    "--controller",
    metavar="COMMAND",
    help="Measure this program instead where instances are virtual; it gets the same arguments.",
)
def main(
    server: str | None,
    asked: list[str] | None,
    repeat: int,
    json: Path | None,
    profiles: Path | None,
    logs: Path | None,
    controller: str | None,
) -> None:
    """Measure how fast claims are bound and what that costs; exits with 1 if anything was wrong or did not finish."""
    command = shlex.split(controller) if controller else [sys.executable, "-m", "tests.bench.controller"]
    for folder in (profiles, logs):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    try:
        names, left_out = runnable(asked, why_none)
    except Misconfigured as error:
        raise click.ClickException(str(error)) from error
    if left_out is not None:
        click.echo(left_out, err=True)

    async def measured() -> Measured:
        work = _measure(chosen(server), names, repeat, command, profiles, logs)
        return await _interruptible(asyncio.create_task(work))

    try:
        runs, told = uvloop.run(measured())
    except Misconfigured as error:
        raise click.ClickException(str(error)) from error
    except asyncio.CancelledError:
        raise click.Abort from None
    summary = [summarized([run for run in runs if run.scenario == name]) for name in names]
    told["left_out"] = left_out
    click.echo(report.table(summary, told, repeat))
    if json is not None:
        json.write_bytes(orjson.dumps(report.document(summary, runs, told), option=orjson.OPT_INDENT_2))
    sys.exit(0 if all(run.passed for run in runs) else 1)


if __name__ == "__main__":
    main()
