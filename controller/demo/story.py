"""What the demo does, in order."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from controller.demo.api import Api
from controller.demo.records import Records
from controller.demo.stages import SAMPLES, Stage
from controller.demo.system import System
from controller.demo.viewers import Viewer, plural_of, read_manifest
from controller.errors import AgentpoolError

_LOOK_SECONDS = 0.1
_ENDED = ("Failed", "Expired", "Evicted", "Released")
_STATES = ("starting", "claimed", "crashed", "terminating")


@dataclass(slots=True)
class Narrator:
    """Says what happens, and when, counted from the start."""

    began: float = field(default_factory=time.monotonic)

    def say(self, sentence: str) -> None:
        """Print one line."""
        click.echo(f"[{time.monotonic() - self.began:5.1f} s] {sentence}")


@dataclass(frozen=True, slots=True)
class Story:
    """The sample pool and the sample claim, from the first start to the last stop."""

    system: System
    stage: Stage
    api: Api
    viewer: Viewer
    records: Records
    narrator: Narrator

    def play(self) -> None:
        """Tell all of it; raises AgentpoolError at the first thing that is not as it should be."""
        self.stage.furnish(self.api)
        path = self.stage.pool()
        pool = read_manifest(path)
        name, warm = pool["metadata"]["name"], pool["spec"]["minIdle"]
        self.viewer.apply(path)
        self._follow(name, lambda status: _ready(status) and status.get("idle", 0) >= warm, "warm")
        self.viewer.get("agentpools", "agentinstances")

        claim, instance = self._claim()
        self.viewer.get("agentclaims", wide=True)
        self._follow(
            name,
            lambda status: status.get("claimed") == 1 and status.get("idle", 0) >= warm,
            "warm again, while the claim holds its agent",
        )

        self.stage.show(self.api)
        self.viewer.delete("agentclaims", claim)
        self._wait(lambda: claim not in self.api.names("agentclaims"), f"claim {claim} to go")
        self._wait(lambda: instance not in self.api.names("agentinstances"), f"instance {instance} to be destroyed")
        self.narrator.say(f"instance {instance} was destroyed with its claim: an agent is never used twice")
        self._follow(
            name, lambda status: status.get("idle", 0) == status.get("total", 0) == warm, "warm, with nothing claimed"
        )
        self.viewer.get("agentpools", "agentinstances")
        self._recall(claim)

        self.viewer.delete("agentpools", name)
        self._wait(lambda: not self.api.names("agentinstances"), "the instances to end")

    def _recall(self, claim: str) -> None:
        """What the ledger still knows of a claim that is gone."""
        told = self.records.told(claim)
        if told is not None:
            click.echo(f"\n$ agentpool ledger history {claim}")
            click.echo(told, nl=False)

    def _claim(self) -> tuple[str, str]:
        """Make the claim and wait for the agent; the names of the claim and of the instance that it got."""
        manifest = read_manifest(SAMPLES / "claim.yaml")
        name, plural = manifest["metadata"]["name"], plural_of(manifest)
        click.echo("")
        # Not with kubectl: the clock starts with the POST, and kubectl alone takes longer than the answer.
        self.narrator.say(f"POST of {plural} {name}, the same as: kubectl apply -f manifests/samples/claim.yaml")
        with self.api.watched(plural, name) as states:
            began = time.perf_counter()
            self.api.create(plural, manifest)
            for state in states:
                status = state.get("status", {})
                if status.get("phase") == "Bound":
                    milliseconds = (time.perf_counter() - began) * 1000
                    self.narrator.say(f"Bound {milliseconds:.0f} ms after the POST, as a watching client sees it")
                    self.narrator.say(f"invite URL: {status['inviteUrl']}")
                    return name, status["instance"]
                if status.get("phase") in _ENDED:
                    raise AgentpoolError(
                        f"claim {name} is {status['phase']}: {status.get('message', 'without a word')}"
                    )
        raise AgentpoolError(f"the watch of claim {name} ended before it was Bound")

    def _follow(self, name: str, arrived: Callable[[dict[str, Any]], bool], goal: str) -> None:
        """Wait for a state of the pool, with a line for each change on the way."""
        shown = ""
        status: dict[str, Any] = {}

        def look() -> bool:
            nonlocal shown, status
            pool = self.api.get("agentpools", name)
            status = pool.get("status", {})
            if (line := _told(pool)) != shown:
                self.narrator.say(f"pool {name}: {line}")
                shown = line
            return arrived(status)

        self._wait(look, f"pool {name} to be {goal}", lambda: _reason(status))
        self.narrator.say(f"pool {name} is {goal}")

    def _wait(self, arrived: Callable[[], bool], what: str, reason: Callable[[], str] = str) -> None:
        end = time.monotonic() + self.stage.patience
        while not arrived():
            self.system.see_that_it_runs()
            if time.monotonic() > end:
                told = reason()
                raise AgentpoolError(
                    f"waited {self.stage.patience:.0f} s for {what}" + (f", but {told}" if told else "")
                )
            time.sleep(_LOOK_SECONDS)


def _told(pool: dict[str, Any]) -> str:
    status = pool.get("status", {})
    counts = [f"{status[state]} {state}" for state in _STATES if status.get(state)]
    return ", ".join([f"{status.get('idle', 0)} of {pool['spec']['minIdle']} idle", *counts])


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((it for it in status.get("conditions", []) if it["type"] == kind), {})


def _ready(status: dict[str, Any]) -> bool:
    return bool(_condition(status, "Ready").get("status") == "True")


def _reason(status: dict[str, Any]) -> str:
    return str(_condition(status, "Ready").get("message", ""))
