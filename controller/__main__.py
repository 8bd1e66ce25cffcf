"""The command line: agentpool run, agentpool standalone."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import uvloop
from pydantic import ValidationError

from controller import logs
from controller.app import serve
from controller.errors import AgentpoolError
from controller.model.crd import custom_resource_definitions
from controller.settings import Settings
from controller.standalone import StandaloneError, StandaloneServer


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least severity."),
        click.option("--log-format", type=click.Choice(["readable", "json"]), help="How log records look."),
        click.option("--http-port", type=int, help="Port for /healthz, /readyz and /metrics. [default: 8090]"),
        click.option("--http-host", help="Address for the same. [default: 127.0.0.1]"),
    ):
        command = option(command)
    return command


@click.group(help="Keeps AI agents warm and hands one over in milliseconds.")
@click.version_option(package_name="agentpool")
def cli() -> None:
    """Entry point of all commands."""


@cli.command()
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Which API server to work on.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--namespace", "-n", "namespaces", multiple=True, help="Serve this namespace only; may be repeated.")
@click.option("--operator-namespace", help="Where the operator keeps its own Secret. [default: default]")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where local instances live. [default: .agentpool]")
@_options
def run(**options: Any) -> None:
    """Operate the pools of a Kubernetes cluster, or of any API server that a kubeconfig names."""
    settings = _settings(options)
    _main(settings, lambda stop: serve(settings, stop=stop))


@cli.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".agentpool"),
    show_default=True,
    help="Holds everything: objects, certificates, the kubeconfig, the instances.",
)
@click.option("--port", type=int, default=0, help="Port of the API server. [default: chosen once, then kept]")
@_options
def standalone(data_dir: Path, port: int, **options: Any) -> None:
    """Run an API server and the operator in one process: for laptops, tests and single hosts."""
    settings = _settings({**options, "kubeconfig": data_dir / "kubeconfig", "state_dir": data_dir})

    async def work(stop: asyncio.Event) -> None:
        server = StandaloneServer(data_dir, port=port, crds=custom_resource_definitions())
        async with server:
            click.echo(f"API server: {server.url}\nexport KUBECONFIG={server.kubeconfig.resolve()}")
            await serve(settings, stop=stop)

    _main(settings, work)


def main() -> None:
    """Run the command line."""
    cli()


def _settings(options: dict[str, Any]) -> Settings:
    try:
        return Settings(**{name: value for name, value in options.items() if value not in (None, ())})
    except ValidationError as error:
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            click.echo(f"agentpool: setting {name}: {problem['msg']}", err=True)
        sys.exit(2)


def _main(settings: Settings, work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    logs.configure(settings.log_format, settings.log_level)

    async def until_stopped() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    try:
        uvloop.run(until_stopped())
    except (AgentpoolError, StandaloneError) as error:
        click.echo(f"agentpool: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
