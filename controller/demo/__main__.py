"""``python -m controller.demo``: the command behind ``make demo``."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

import click

from controller.demo.api import Api
from controller.demo.railway_stage import RailwayStage
from controller.demo.records import Records
from controller.demo.stages import DockerStage, ProcessStage, Stage
from controller.demo.story import Narrator, Story
from controller.demo.system import System
from controller.demo.viewers import Kubectl, OwnTables, Viewer
from controller.errors import AgentpoolError

STAGES: Mapping[str, Callable[[Path, str | None], Stage]] = {
    "process": lambda _folder, _image: ProcessStage(),
    "docker": DockerStage,
    "railway": RailwayStage,
}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LEAVE_SECONDS = 10.0


class Interrupted(BaseException):
    """Somebody wants the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)


def _play(system: System, stage: Stage, records: Records, kubectl: str | None) -> None:
    narrator = Narrator()
    narrator.say(stage.prepare())
    narrator.say(records.prepare())
    system.env = {**stage.env(), **records.env()}
    narrator.say(f"starting: {' '.join(system.command)}")
    system.start()
    system.wait_until_ready()
    with Api(system.kubeconfig) as api:
        narrator.say(f"API server and operator are ready at {api.url}")
        viewer: Viewer
        if kubectl is None:
            viewer = OwnTables(api)
            narrator.say("there is no kubectl: the tables that follow are the same ones, which the API server makes")
        else:
            viewer = Kubectl(kubectl, system.kubeconfig)
        Story(system, stage, api, viewer, records, narrator).play()
    click.echo("")
    narrator.say("stopping")
    code = system.stop()
    if code != 0:
        raise AgentpoolError(f"the standalone system ended with exit code {code} instead of 0")
    _see_that_nothing_is_left(system, stage)
    narrator.say(f"stopped: no {stage.remnant} is left")


def _see_that_nothing_is_left(system: System, stage: Stage) -> None:
    end = time.monotonic() + _LEAVE_SECONDS
    while left := [*(f"process {process.pid}" for process in system.processes()), *stage.remains()]:
        if time.monotonic() > end:
            raise AgentpoolError(f"this was left behind: {', '.join(left)}")
        time.sleep(0.1)


def _folder(wish: Path | None) -> Path:
    if wish is None:
        return Path(tempfile.mkdtemp(prefix="agentpool-demo-"))
    try:
        wish.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(wish.iterdir()):
            raise click.UsageError(f"--data-dir {wish} is not empty: name a directory that is, or that does not exist")
    except OSError as error:
        raise click.UsageError(f"--data-dir {wish} cannot be used: {error.strerror}") from None
    return wish.resolve()


def _kubectl(wish: str | None, without: bool) -> str | None:
    if without:
        return None
    found = shutil.which(wish or "kubectl")
    if wish and found is None:
        raise click.UsageError(f"--kubectl {wish} is not a program: name one, or say --no-kubectl")
    return found


@click.command()
@click.option("--backend", type=click.Choice(list(STAGES)), default="process", help="Where instances run.")
@click.option(
    "--image",
    metavar="IMAGE",
    help="Agent image for docker and railway. [default: made from agent/Dockerfile; any at the twin of Railway]",
)
@click.option("--kubectl", metavar="PATH", help="The kubectl to use. [default: the one on PATH, if any]")
@click.option("--no-kubectl", is_flag=True, help="Do without kubectl, even if there is one.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty directory for everything; it is kept. [default: a temporary one, kept only after a failure]",
)
def main(backend: str, image: str | None, kubectl: str | None, no_kubectl: bool, data_dir: Path | None) -> None:
    """Show agentpool on this machine: a warm pool, a claim, its agent, and everything gone again."""
    program = _kubectl(kubectl, no_kubectl)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    folder = _folder(data_dir)
    system = System(folder)
    stage, records = STAGES[backend](folder, image or None), Records()
    code = 0
    try:
        try:
            _play(system, stage, records, program)
        finally:
            # What was started is ended in any case, and another Ctrl-C does not get in the way.
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            system.end()
            stage.clear()
            records.clear()
    except (AgentpoolError, OSError) as error:
        click.echo(f"agentpool demo: {error}; the log is {system.log}", err=True)
        code = 1
    except Interrupted as interrupted:
        click.echo("agentpool demo: interrupted; everything that it started has ended", err=True)
        code = 128 + interrupted.number
    if data_dir is None and code != 1:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
