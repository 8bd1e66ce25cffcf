"""The command line: agentpool run, standalone, rbac, logs, image bake, ledger.

Commands import what they do when they are called: who asks the ledger something does not wait for all of the operator.
"""

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from controller.commands.invocation import Invocation, settings_of
from controller.errors import AgentpoolError
from controller.settings import Settings

if TYPE_CHECKING:
    from controller.commands.ledger import Wanted


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least severity."),
        click.option("--log-format", type=click.Choice(["readable", "json"]), help="How log records look."),
        click.option("--http-port", type=int, help="Port for /healthz, /readyz and /metrics. [default: 8090]"),
        click.option("--http-host", help="Address for the same. [default: 127.0.0.1]"),
    ):
        command = option(command)
    return command


def _cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--context", help="Context of the kubeconfig."),
        click.option("--kubeconfig", type=click.Path(path_type=Path), help="Which API server to ask."),
        click.option("--namespace", "-n", "namespace", help="Namespace to look in. [default: the context's own]"),
    ):
        command = option(command)
    return command


class _Moment(click.ParamType[datetime]):
    """A date, or a date and time; in UTC unless it says otherwise."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or fail with what would do."""
        try:
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        except ValueError:
            self.fail(f"{value!r} is no date: write it like 2026-03-01, or 2026-03-01T12:00+01:00", param, ctx)


_output_option = click.option(
    "--output", "-o", "form", type=click.Choice(["table", "json", "csv"]), default="table", help="How it is shown."
)


def _choice_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        _output_option,
        click.option("--until", type=_Moment(), metavar="DATE", help="Made before this moment only."),
        click.option("--since", type=_Moment(), metavar="DATE", help="Made from this moment on only."),
        click.option("--day", type=_Moment(), metavar="DATE", help="Made on this day only, in UTC."),
        click.option("--pool", help="Of this pool only."),
        click.option("--agent", help="Of agents of this name only."),
        click.option("--namespace", "-n", help="In this namespace only. [default: all]"),
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
@click.option("--operator-namespace", help="Where the operator keeps its id and its Lease. [default: default]")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where local instances live. [default: .agentpool]")
@_options
def run(**options: Any) -> None:
    """Operate the pools of a Kubernetes cluster, or of any API server that a kubeconfig names."""
    settings = settings_of(options)
    with _importing():
        from controller.app import serve

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
    settings = settings_of({**options, "kubeconfig": data_dir / "kubeconfig", "state_dir": data_dir})
    with _importing():
        from controller.app import serve
        from controller.model.crd import custom_resource_definitions
        from controller.standalone import StandaloneServer

    async def work(stop: asyncio.Event) -> None:
        server = StandaloneServer(data_dir, port=port, crds=custom_resource_definitions())
        async with server:
            click.echo(f"API server: {server.url}\nexport KUBECONFIG={server.kubeconfig.resolve()}")
            await serve(settings, stop=stop, sole=True)

    _main(settings, work)


@cli.command()
@click.option("--namespace", "-n", "namespaces", multiple=True, help="Serve this namespace; may be repeated.")
@click.option("--operator-namespace", help="Where the operator itself runs. [default: default]")
@click.option("--all-namespaces", "-A", "everywhere", is_flag=True, help="Serve all namespaces, by a ClusterRole.")
def rbac(everywhere: bool, **options: Any) -> None:
    """Print the Roles that the operator needs, and their bindings to its ServiceAccount agentpool, for kubectl apply.

    One Role in each namespace that it is to serve, and one in its own; manifests/operator/role.yaml is for one that
    serves its own namespace only.
    """
    from controller.kube.roles import manifest

    settings = settings_of(options)
    own = settings.operator_namespace
    click.echo(manifest(settings.namespaces, own, settings.lease_name, everywhere=everywhere), nl=False)


@cli.command("logs")
@click.argument("instance")
@click.option("--claim", is_flag=True, help="INSTANCE is the name of an AgentClaim: show the agent that it got.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines only. [default: all]")
@click.option("--follow", "-f", is_flag=True, help="Go on with what it writes from now on, until it ends.")
@_cluster_options
@click.option("--operator-namespace", help="Where the operator keeps its id and its Lease. [default: default]")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where local instances live. [default: .agentpool]")
def show(instance: str, claim: bool, tail: int | None, follow: bool, namespace: str | None, **options: Any) -> None:
    """Show what an instance has written to its standard output and error, wherever it runs.

    INSTANCE is the name of an AgentInstance, or with --claim that of an AgentClaim.
    """
    with _importing():
        from controller.commands.instance_logs import LogsOrder, show_logs

    settings, invocation = settings_of(options), Invocation()
    order = LogsOrder(instance, claim, namespace, tail, follow)
    invocation.run(lambda: show_logs(order, settings, invocation), tidies=False)


@cli.group()
def image() -> None:
    """Make images for pools."""


@image.command()
@click.argument("pool", required=False)
@click.option("--file", "-f", type=click.Path(path_type=Path), help="Take the pool from a YAML file; - is stdin.")
@click.option("--tag", required=True, metavar="NAME[:TAG]", help="What the golden image is to be called.")
@click.option("--timeout", type=click.FloatRange(1, 86400), default=600, show_default=True, help="Seconds to be ready.")
@click.option("--leave-out", multiple=True, metavar="PATTERN", help="Leave files out, below template.stateDir; repeat.")
@_cluster_options
def bake(
    pool: str | None,
    file: Path | None,
    tag: str,
    timeout: float,
    leave_out: tuple[str, ...],
    namespace: str | None,
    **options: Any,
) -> None:
    """Bake a golden image: a pool that starts from it has its instances ready sooner.

    Starts one instance of POOL that is nobody's, on the Docker engine of DOCKER_HOST, and waits until it is ready. What
    it has laid out in its state directory by then becomes a layer over the pool's own image. It is given placeholders
    for all that comes from Secrets and a token of its own; an image that would hold one of them, a private key or a
    conversation is refused. Pids, locks, sockets, logs and a gateway's own identity are left out: each instance makes
    its own.
    """
    with _importing():
        from controller.commands.image_bake import Request, bake_image

    settings, invocation = settings_of(options), Invocation()
    request = Request(pool, file, namespace, tag, timeout, leave_out)
    invocation.run(lambda: bake_image(request, settings), tidies=True)


@cli.group()
def ledger() -> None:
    """Ask the ledger of claims and instances, or tend to it; DATABASE_URL says where it is."""


@ledger.command("migrate")
def migrate_command() -> None:
    """Bring the ledger's schema up to date, or make it.

    Needs a user that may create schemas and roles there. Several may do it at once.
    """
    from controller.commands.ledger import migrate_ledger

    settings = settings_of({})
    Invocation().run(lambda: migrate_ledger(settings), tidies=False)


@ledger.command()
@click.argument("name", metavar="UID-or-NAME")
@click.option("--namespace", "-n", help="Look in this namespace only. [default: all]")
@_output_option
def history(name: str, namespace: str | None, form: Any) -> None:
    """Show all that happened to a claim or an instance, oldest first; of a claim, to its instances, too."""
    from controller.commands.ledger import show_history

    settings = settings_of({})
    Invocation().run(lambda: show_history(name, namespace, form, settings), tidies=False)


@ledger.command()
@_choice_options
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="At most so many.")
def claims(limit: int, **options: Any) -> None:
    """Show who claimed what, when, how long each stage took, how it ended and what it ran on; newest first.

    JSON and CSV hold all that is known of each claim.
    """
    from controller.commands.ledger import show_claims

    settings, wanted = settings_of({}), _wanted(**options)
    Invocation().run(lambda: show_claims(wanted, limit, settings), tidies=False)


@ledger.command()
@_choice_options
@click.option("--by", type=click.Choice(["pool", "day", "agent"]), default="pool", show_default=True, help="Count by.")
def usage(by: str, **options: Any) -> None:
    """Count claims, how they ended, how long they waited, and the hours for which agents were held.

    Hours count for the day on which the claim was made; those of agents that are still held go up to now.
    """
    from controller.commands.ledger import show_usage

    settings, wanted = settings_of({}), _wanted(**options)
    Invocation().run(lambda: show_usage(wanted, by, settings), tidies=False)


@ledger.command("prune")
@click.option("--before", type=_Moment(), required=True, metavar="DATE", help="Drop months that ended by then.")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@click.option("--even-open", is_flag=True, help="Drop also months with something that was never seen to end.")
def prune_command(before: datetime, dry_run: bool, even_open: bool) -> None:
    """Drop old history, by whole months of creation (in UTC).

    A month is kept while a claim or an instance that was made in it is still there, as far as the ledger knows: what
    went unseen, as by a restore of etcd or with finalizers that were taken off by hand, keeps it until --even-open.
    Needs the owner of the schema.
    """
    from controller.commands.ledger import prune_ledger

    settings = settings_of({})
    Invocation().run(lambda: prune_ledger(before, dry_run, even_open, settings), tidies=False)


def _wanted(
    namespace: str | None,
    agent: str | None,
    pool: str | None,
    form: Any,
    **period: datetime | None,
) -> "Wanted":
    from controller.commands.ledger import Period, Wanted

    return Wanted(namespace, agent, pool, Period(**period), form)


@contextmanager
def _importing() -> Iterator[None]:
    """Collects no garbage meanwhile: what imports make stays, and walking it anew takes a tenth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def main() -> None:
    """Run the command line."""
    cli()


def _main(settings: Settings, work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    import uvloop

    from controller import logs

    logs.configure(settings.log_format, settings.log_level)

    async def until_stopped() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    try:
        uvloop.run(until_stopped())
    except AgentpoolError as error:
        click.echo(f"agentpool: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
