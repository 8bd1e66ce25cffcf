"""How long a takeover takes: ``python -m tests.ha.takeover [--runs N] [--kubeconfig FILE]``, with the default Lease.

Two operators stand by for each other. Crash: from kill -9 of the leader until the other one works, and until a claim
that was made right after the kill is bound. Clean stop: the same from SIGTERM.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from tests.e2e.api import CRDS
from tests.e2e.system import unique
from tests.e2e.test_trouble import BareServer
from tests.ha.replicas import Replica, Replicas

LOOK_SECONDS = 0.01


def seconds_until(condition: Callable[[], bool], since: float) -> float:
    """Since then until it holds."""
    while not condition():
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - since


def take_over(replicas: Replicas, leader: Replica, standby: Replica, *, crash: bool) -> tuple[float, float]:
    """Seconds until the standby works, and until a claim is bound."""
    name = unique("c")
    replicas.system.warm("p", 2)
    time.sleep(random.uniform(0.0, 3.0))  # anywhere between two renewals
    assert leader.command.process is not None
    began = time.monotonic()
    (leader.command.process.kill if crash else leader.command.process.terminate)()
    replicas.system.claim(name, "p")
    works = seconds_until(lambda: standby.command.readiness() == (200, "ok"), began)
    bound = seconds_until(lambda: replicas.system.get_claim(name).get("status", {}).get("phase") == "Bound", began)
    leader.command.process.wait()
    leader.command.start()
    replicas.wait_to_stand_by(leader)
    replicas.system.api.delete("agentclaims", name)
    return works, bound


def measure(replicas: Replicas, runs: int) -> None:
    """Print a table."""
    leader, standby = replicas.start()
    replicas.system.pool("p", minIdle=2, maxTotal=8)
    click.echo("| leader | runs | the other one works: median | most | a claim is bound: median | most |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for crash in (True, False):
        figures = []
        for _ in range(runs):
            figures.append(take_over(replicas, leader, standby, crash=crash))
            leader, standby = standby, leader
        columns = [value for each in zip(*figures, strict=True) for value in (statistics.median(each), max(each))]
        told = " | ".join(f"{value:.2f} s" for value in columns)
        click.echo(f"| {'kill -9' if crash else 'SIGTERM'} | {runs} | {told} |")


@click.command()
@click.option("--runs", default=7, show_default=True, help="Of each kind.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="A genuine API server with our CRDs.")
def main(runs: int, kubeconfig: Path | None) -> None:
    """Measure takeovers on this machine."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bare = BareServer(folder / "data", *sorted(CRDS.glob("*.yaml"))) if kubeconfig is None else None
        server = kubeconfig or folder / "data" / "kubeconfig"
        replicas = Replicas("genuine" if kubeconfig is not None else "standalone", server, folder)
        try:
            measure(replicas, runs)
        finally:
            replicas.erase()
            if bare is not None:
                bare.stop()


if __name__ == "__main__":
    main()
