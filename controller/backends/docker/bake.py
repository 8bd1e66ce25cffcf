"""Bake a golden image: run one instance that is nobody's, and keep what it has laid out while it started.

Nothing is committed of the container that ran: its files are looked through and moved to one that never ran, which
knows nothing but the image. So neither the image's configuration nor its history can hold what the instance was told.
"""

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiodocker import DockerError

from controller.backends.docker.answers import read_as
from controller.backends.docker.configuration import options_of
from controller.backends.docker.containers import url_of
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import sort
from controller.backends.docker.exits import explained
from controller.backends.docker.golden import Forbidden, LeaveOut
from controller.backends.docker.layer import Findings, Layer
from controller.backends.docker.names import POOL, PREFIX
from controller.backends.docker.output import last_line
from controller.errors import Missing, Refused
from controller.ports import LaunchOrder

GOLDEN = f"{PREFIX}golden"
BAKED_FROM = f"{PREFIX}baked-from"
BAKED_AT = f"{PREFIX}baked-at"
DRAFTS = "agentpool-bake"
"""Repository of images that have no name of their own yet."""
LONG_SECONDS = 600.0
_SHOWN = 8

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BakeOrder:
    """What to bake."""

    launch: LaunchOrder
    """The instance; its environment holds nothing but what was made for this bake."""
    secrets: dict[str, str] = field(repr=False)
    """What was made for this bake, by what a person calls it: no file of the image may hold it."""
    repository: str
    tag: str
    leave_out: tuple[str, ...]
    deadline: int
    """Seconds since the epoch after which whoever comes may remove what is left of it."""
    baked_at: str


@dataclass(frozen=True, slots=True)
class GoldenImage:
    """What came of it."""

    id: str
    size: int
    base: str
    """Id of the image that it was made from."""
    findings: Findings


class Bake:
    """One instance that runs to be baked."""

    def __init__(self, engine: Engine, order: BakeOrder, name: str, identity: str, container: str, base: str) -> None:
        self.url = ""
        """Where its runtime listens."""
        self._engine = engine
        self._order = order
        self._container_name = name
        self._identity = identity
        self._container = container
        self._base = base
        template = order.launch.template
        whole = not options_of(order.launch).read_only_root_filesystem
        self._forbidden = Forbidden(template.state_dir, order.secrets)
        leave_out = LeaveOut(template.state_dir, order.leave_out)
        self._layer = Layer(engine, container, template.state_dir, leave_out, self._forbidden, whole=whole)

    async def look(self) -> None:
        """See that it runs. ``Refused`` with its last words when it has ended."""
        shown = await self._inspect()
        with read_as("an inspection"):
            running = bool(shown["State"]["Running"])
        if not running:
            raise Refused("BakeEnded", f"the program ended before it was ready: it {await self._last_words(shown)}")
        state_dir = self._order.launch.template.state_dir
        with read_as("an inspection"):
            for mount in shown.get("Mounts") or ():
                if f"{state_dir}/".startswith(f"{mount['Destination'].rstrip('/')}/"):
                    raise Refused(
                        "StateInVolume",
                        f"the image declares {mount['Destination']} as a volume, which no image can hold: remove "
                        "VOLUME from its Dockerfile, or set template.stateDir to another directory",
                    )
            ports = shown["NetworkSettings"]["Ports"].get(f"{self._order.launch.template.port}/tcp") or ()
            urls = [url_of((port["HostIp"], int(port["HostPort"])), self._engine.address) for port in ports]
        self.url = next((url for url in urls if url is not None), "")
        if not self.url:
            raise Refused(
                "PortNotPublished",
                "the engine published no port of the container that is reached from here: correct "
                "backend.docker.network or publishAddress",
            )

    async def check(self) -> Findings:
        """Look through what it has changed so far. ``Refused`` names the files that must not be in an image."""
        with tempfile.TemporaryFile() as file:
            findings = await self._layer.pack(file)
        _require_clean(findings)
        return findings

    async def finish(self) -> GoldenImage:
        """Stop it, look through its files again, and make the image of them."""
        await self._stop()
        with tempfile.TemporaryFile() as file:
            findings = await self._layer.pack(file)
            _require_clean(findings)
            # A cancellation waits: else the engine would go on and leave an image that nobody knows of.
            image = await carried_through(self._commit(file, findings))
        # Not before all is well does it get its name, which may be that of an earlier image.
        await carried_through(self._name_it(image))
        return image

    async def _stop(self) -> None:
        grace = max(30, options_of(self._order.launch).termination_grace_seconds)
        await sorted_answer(
            self._engine.call(
                lambda docker: docker.containers.container(self._container).stop(t=grace), seconds=grace + LONG_SECONDS
            )
        )
        shown = await self._inspect()
        with read_as("an inspection"):
            code = shown["State"]["ExitCode"]
        if code != 0:
            raise Refused(
                "NotStoppedInOrder",
                f"the program does not end in order on SIGTERM, so its files may be half written: within {grace} s it "
                f"{await self._last_words(shown)}; let it exit with code 0",
            )

    async def _commit(self, file: Any, findings: Findings) -> GoldenImage:
        order = self._order
        labels = {GOLDEN: "true", BAKED_FROM: self._base, BAKED_AT: order.baked_at, POOL: order.launch.pool}
        mould = await sorted_answer(
            self._engine.call(
                lambda docker: docker.containers.create(
                    {"Image": self._base, "Labels": labels}, name=f"{self._container_name}-mould"
                )
            )
        )
        if findings.carried:
            await sorted_answer(self._engine.call(lambda _: mould.put_archive("/", file), seconds=LONG_SECONDS))
        message = f"agentpool image bake of pool {order.launch.pool}"
        made = await sorted_answer(
            self._engine.call(
                lambda _: mould.commit(repository=DRAFTS, tag=self._identity, message=message), seconds=LONG_SECONDS
            )
        )
        with read_as("the name of an image"):
            name = str(made["Id"])
        image = await self._verify(name)
        with read_as("an image"):
            return GoldenImage(str(image["Id"]), int(image["Size"]), self._base, findings)

    async def _name_it(self, image: GoldenImage) -> None:
        order = self._order
        await sorted_answer(
            self._engine.call(lambda docker: docker.images.tag(image.id, repo=order.repository, tag=order.tag))
        )

    async def _verify(self, image: str) -> dict[str, Any]:
        """See that the image differs from the one before by its files and labels only."""
        shown: dict[str, Any] = await sorted_answer(self._engine.get(f"images/{image}/json"))
        before = await sorted_answer(self._engine.get(f"images/{self._base}/json"))
        history = await sorted_answer(self._engine.get(f"images/{image}/history"))
        kept = ("Env", "Cmd", "Entrypoint", "User", "Healthcheck", "WorkingDir", "Volumes", "StopSignal", "Shell")
        with read_as("an image"):
            changed = [key for key in kept if (shown["Config"].get(key) or None) != (before["Config"].get(key) or None)]
        told = self._forbidden.text(json.dumps([shown, history]).encode())
        if changed or told:
            why = f"its configuration {told}" if told else f"the engine changed {', '.join(changed)} of it"
            raise Refused("ImageNotClean", f"the image was thrown away: {why}")
        return shown

    async def _inspect(self) -> dict[str, Any]:
        shown: dict[str, Any] = await sorted_answer(self._engine.get(f"containers/{self._container}/json"))
        return shown

    async def _last_words(self, shown: dict[str, Any]) -> str:
        how = explained(shown)
        line = await sorted_answer(last_line(self._engine, self._container))
        if not line or self._forbidden.text(line.encode()):
            return how
        return f"{how}; last line of its log: {line}"


def _require_clean(findings: Findings) -> None:
    if not findings.problems:
        return
    shown = "; ".join(findings.problems[:_SHOWN])
    more = len(findings.problems) - _SHOWN
    raise Refused(
        "NotClean",
        f"the instance is not fit for an image: {shown}{f'; and {more} more' if more > 0 else ''}. Let the program "
        "keep that elsewhere, or, if it makes the file anew at every first start, name it with --leave-out (a pattern "
        "below template.stateDir)",
    )


async def sorted_answer(call: Awaitable[Any]) -> Any:
    """The answer to a call, or the error of a port."""
    try:
        return await call
    except DockerError as answer:
        error = sort(answer)
        if isinstance(error, Missing):
            raise Refused("BakeRemoved", f"the bake was removed by somebody else: {error}") from None
        raise error from None


async def carried_through(work: Coroutine[Any, Any, Result]) -> Result:
    """Do something to its end; a cancellation waits for that."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
