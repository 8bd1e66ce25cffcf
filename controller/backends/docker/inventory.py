"""What the engine has of this installation; nothing else is ever seen, let alone touched."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiodocker import DockerError

from controller.backends.docker.answers import read_as
from controller.backends.docker.containers import Container, read_container
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import one_line, sort
from controller.backends.docker.exits import Exits
from controller.backends.docker.names import INSTALLATION, NAMESPACE, ON_DELETE, UID
from controller.errors import Transient
from controller.ports import Remote, RemoteState

log = logging.getLogger(__name__)

TRACE_SECONDS = 60.0
"""For how long a container that never ran, or a volume without one, is taken for a launch that is going on."""


class Inventory:
    """Containers and volumes by the labels of this installation."""

    def __init__(self, engine: Engine, installation: str, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._installation = installation
        self._clock = clock
        self._exits = Exits(engine)
        self._traces: dict[str, float] = {}

    async def containers(self, uid: str | None = None) -> dict[str, list[Container]]:
        """All of them by uid, or those of one uid: in truth at most one each. One call."""
        return read_containers(await self._get("containers/json", all="1", filters=self._filters(uid)))

    async def volumes(self, uid: str | None = None) -> dict[str, list[str]]:
        """Names of volumes that are to go with their instances, by uid. One call."""
        found = read_volumes(await self._get("volumes", filters=self._filters(uid)))
        return {uid: [volume.name for volume in volumes] for uid, volumes in found.items()}

    async def find(self, uid: str) -> Container | None:
        """The container of an instance."""
        found = (await self.containers(uid)).get(uid)
        return await self._one_of(found) if found else None

    async def settle(self, container: str) -> None:
        """Wait until what an event told of is in the list.

        The engine sends some events (die, pause) before it updates its list, with the container locked; an inspection
        waits for that lock.
        """
        try:
            await self._engine.get(f"containers/{container}/json")
        except DockerError as answer:
            if answer.status != 404:
                raise sort(answer) from None

    async def remote_of(self, container: Container) -> Remote:
        """What the port says of it."""
        return container.remote(self._engine.address, await self._exits.explain(container))

    async def remotes(self) -> Sequence[Remote]:
        """Everything that exists, down to volumes that are left over."""
        # In this order: a volume is made, and seen, before its container, and removed after it.
        volumes = read_volumes(await self._get("volumes", filters=self._filters(None)))
        containers = await self.containers()
        chosen = [await self._one_of(each) for each in containers.values()]
        self._exits.keep({container.id for container in chosen})
        shown = [container for container in chosen if container.ran]
        lone = {each.name: each for uid, found in volumes.items() if uid not in containers for each in found}
        stale = self._stale({container.id for container in chosen if not container.ran} | lone.keys())
        shown += [container for container in chosen if container.id in stale]
        remotes = await asyncio.gather(*map(self.remote_of, shown))
        left = {volume.uid: volume for name, volume in lone.items() if name in stale}
        return [*remotes, *(volume.remote() for volume in left.values())]

    async def remove(self, container: Container, *, force: bool = False) -> bool:
        """Remove it with its anonymous volumes; False while that is going on, or when it runs and is not forced."""
        try:
            await self._engine.call(
                lambda docker: docker.containers.container(container.id).delete(force=force, v=True)
            )
        except DockerError as answer:
            if answer.status not in {404, 409}:
                raise Transient(
                    f"container {container.short_id} of the instance cannot be removed: {one_line(answer.message)}; "
                    "see to the engine"
                ) from None
            if answer.status == 409:
                return False
            # Something on the way to the engine may have said it, which knows of no container at all.
            left = (await self.containers(container.uid)).get(container.uid, [])
            if any(each.id == container.id for each in left):
                raise Transient(
                    f"container {container.short_id} of the instance is listed, and not found when it is to be "
                    f"removed: {one_line(answer.message)}; see that nothing answers in the engine's place"
                ) from None
        return True

    async def remove_volume(self, name: str, uid: str) -> None:
        """Remove a volume of an instance; it is gone after that, or was before."""
        try:
            await self._engine.delete(f"volumes/{name}")
        except DockerError as answer:
            if answer.status == 409:
                raise Transient(f"volume {name} of the instance is in use by a container of somebody else's") from None
            if answer.status != 404:
                raise sort(answer) from None
            if name in (await self.volumes(uid)).get(uid, []):
                raise Transient(
                    f"volume {name} of the instance is listed, and not found when it is to be removed: "
                    f"{one_line(answer.message)}; see that nothing answers in the engine's place"
                ) from None

    def _stale(self, traces: set[str]) -> set[str]:
        """Those of the traces that have been seen for so long that no launch is to be expected to go on."""
        now = self._clock()
        self._traces = {trace: self._traces.get(trace, now) for trace in traces}
        return {trace for trace, since in self._traces.items() if now - since >= TRACE_SECONDS}

    async def _one_of(self, containers: list[Container]) -> Container:
        """The one that counts, when a creation that came late made a second one: the one that ran, the first to."""
        # One that is on its way out says nothing of the other, whatever it was.
        containers = [each for each in containers if each.state not in {"removing", "dead"}] or containers
        if len(containers) == 1:
            return containers[0]
        ran = [container for container in containers if container.ran]
        if len(ran) > 1:
            log.error("instance %s has %d containers that ran: %s", ran[0].uid, len(ran), [c.short_id for c in ran])
            ran = [await self._first_started(ran)]
        keep = ran[0] if ran else min(containers, key=lambda each: (each.created, each.id))
        for extra in containers:
            if extra is not keep and not extra.ran:
                log.warning("container %s was made twice for instance %s: removing it", extra.short_id, extra.uid)
                # Without force: one that was started this very moment stays.
                await self.remove(extra)
        return keep

    async def _first_started(self, containers: list[Container]) -> Container:
        started: dict[tuple[str, str], Container] = {}
        for each in containers:
            try:
                shown = await self._engine.get(f"containers/{each.id}/json")
            except DockerError as answer:
                if answer.status != 404:
                    raise sort(answer) from None
                continue
            with read_as("an inspection"):
                # Zeros at the end of the fraction are left out.
                second, _, fraction = shown["State"]["StartedAt"].rstrip("Z").partition(".")
                started[second, fraction] = each
        return started[min(started)] if started else containers[0]

    def _filters(self, uid: str | None) -> str:
        labels = [f"{INSTALLATION}={self._installation}", *([f"{UID}={uid}"] if uid is not None else [])]
        return json.dumps({"label": labels})

    async def _get(self, path: str, **params: str) -> Any:
        try:
            return await self._engine.get(path, **params)
        except DockerError as answer:
            raise sort(answer) from None


def read_containers(listed: Any) -> dict[str, list[Container]]:
    """The answer to ``GET /containers/json``, by uid."""
    found: dict[str, list[Container]] = {}
    with read_as("a list of containers"):
        for each in listed:
            if UID in (each.get("Labels") or {}):
                container = read_container(each)
                found.setdefault(container.uid, []).append(container)
    return found


@dataclass(frozen=True, slots=True)
class Volume:
    """One that is to go with its instance."""

    uid: str
    name: str
    namespace: str

    def remote(self) -> Remote:
        """What the port says of one whose container is gone."""
        message = "only its volume is left"
        return Remote(self.uid, self.name, RemoteState.EXITED, None, message, namespace=self.namespace)


def read_volumes(listed: Any) -> dict[str, list[Volume]]:
    """The answer to ``GET /volumes``: those that are to go with their instances, by uid."""
    found: dict[str, list[Volume]] = {}
    with read_as("a list of volumes"):
        for each in listed.get("Volumes") or ():
            labels = each.get("Labels") or {}
            if UID in labels and labels.get(ON_DELETE) != "Retain":
                volume = Volume(labels[UID], each["Name"], str(labels.get(NAMESPACE) or ""))
                found.setdefault(volume.uid, []).append(volume)
    return found
