"""Bring containers up, each at most once whatever happens between two calls."""

import asyncio
import logging

from aiodocker import DockerError

from controller.backends.docker.configuration import (
    Configuration,
    check_reachable,
    container_configuration,
    image_of,
    options_of,
)
from controller.backends.docker.containers import Container, url_of
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import Unreachable, is_port_in_use, sort
from controller.backends.docker.images import Images
from controller.backends.docker.inventory import Inventory
from controller.backends.docker.names import INSTALLATION, UID, creation_name
from controller.backends.locks import Locks
from controller.errors import Refused, Transient
from controller.ports import LaunchOrder, RemoteState

log = logging.getLogger(__name__)

CREATE_SECONDS = 60.0
START_SECONDS = 60.0
PORT_TRIES = 20
"""How many ports the engine may choose in vain, one after the other, while others on its host use them."""
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Seconds between looks at a container that another controller is making at this moment."""


class _Attempt:
    """One launch; it is abandoned when its instance is to end while the image is fetched."""

    def __init__(self) -> None:
        self.abandoned = False


class Launches:
    """Look, create under the name that only this uid has, look again, start, look.

    The name makes a second container impossible until it is renamed; from then on the looks do. A call without an
    answer is followed by a look, and what is found is adopted. A container that ever ran is never started again.
    """

    def __init__(self, engine: Engine, installation: str, inventory: Inventory, images: Images, locks: Locks) -> None:
        self._engine = engine
        self._installation = installation
        self._inventory = inventory
        self._images = images
        self._locks = locks
        self._attempts: dict[str, set[_Attempt]] = {}

    def under_way(self, uid: str) -> bool:
        """Whether the instance is being launched right now."""
        return uid in self._attempts

    def abandon(self, uid: str) -> None:
        """Let no launch that waits for its image go on."""
        for attempt in self._attempts.get(uid, ()):
            attempt.abandoned = True

    async def launch(self, order: LaunchOrder) -> Container:
        """The container of an instance, running or ended."""
        attempt = _Attempt()
        attempts = self._attempts.setdefault(order.uid, set())
        attempts.add(attempt)
        try:
            return await self._launch(order, attempt)
        finally:
            attempts.discard(attempt)
            if not attempts:
                self._attempts.pop(order.uid, None)

    async def _launch(self, order: LaunchOrder, attempt: _Attempt) -> Container:
        options, image = options_of(order), image_of(order)
        check_reachable(options, self._engine.address)
        body = container_configuration(order, self._installation)
        fetched = False
        while True:
            async with self._locks(order.uid):
                if attempt.abandoned:
                    raise Transient("the instance was ended while its image was fetched")
                found = await self._inventory.find(order.uid)
                if found is None and (fetched or options.pull_policy != "Always"):
                    found = await self._create(order.uid, body)
                if found is not None:
                    return await self._reachable(await self._started(found))
            if fetched:
                raise Transient(f"{image} was removed from the engine right after it had been fetched")
            if options.pull_policy == "Never":
                raise Refused(
                    "ImageNeverPulled",
                    f"the engine has no image {image}, and backend.docker.pullPolicy is Never: build or load it there, "
                    "or set it to IfNotPresent",
                )
            # Without the lock: an end must not wait for a registry.
            await self._images.pull(image, order.pull_secret)
            fetched = True

    async def _create(self, uid: str, body: Configuration) -> Container | None:
        """Make the container, or find it made; ``None`` when the engine lacks the image."""
        name = creation_name(uid)
        try:
            await self._engine.call(lambda docker: docker.containers.create(body, name=name), seconds=CREATE_SECONDS)
        except DockerError as answer:
            if answer.status == 404 and "no such image" in answer.message.lower():
                return None
            if answer.status == 409:
                return await self._holder(name, uid)
            found = await self._inventory.find(uid) if answer.status >= 500 else None
            if found is None:
                raise sort(answer) from None
            return found
        except Unreachable:
            found = await self._inventory.find(uid)
            if found is None:
                raise
            return found
        # By now there may be another one: the first, under the name of its claim, if this creation took its time.
        found = await self._inventory.find(uid)
        if found is None:
            raise Transient("the container was removed before it was started")
        return found

    async def _started(self, container: Container) -> Container:
        """Start it if it never ran."""
        if container.ran:
            return container
        try:
            await self._start(container)
        except DockerError as answer:
            error = sort(answer)
            found = await self._inventory.find(container.uid)
            if found is not None and found.ran:
                return found
            if isinstance(error, Refused):
                await self._inventory.remove(container)
                raise error from None
            raise Transient(str(error)) from None
        except Unreachable:
            found = await self._inventory.find(container.uid)
            if found is None or not found.ran:
                raise
            return found
        found = await self._inventory.find(container.uid)
        if found is None:
            raise Transient("the container was removed while it was started")
        log.info("instance %s runs as container %s", found.uid, found.short_id)
        return found

    async def _start(self, container: Container) -> None:
        """Start it, on another port where the one that the engine chose is in use outside of the engine."""
        tries, pauses = PORT_TRIES, iter(PAUSES)
        while True:
            try:
                await self._engine.call(
                    lambda docker: docker.containers.container(container.id).start(), seconds=START_SECONDS
                )
                return
            except DockerError as answer:
                # The engine lists a container a moment before it can be started (seen under load).
                if (
                    answer.status == 404
                    and (pause := next(pauses, None)) is not None
                    and await self._is_listed(container)
                ):
                    await asyncio.sleep(pause)
                    continue
                tries -= 1
                if not tries or not is_port_in_use(answer):
                    raise

    async def _is_listed(self, container: Container) -> bool:
        found = await self._inventory.find(container.uid)
        return found is not None and found.id == container.id

    async def _reachable(self, container: Container) -> Container:
        """``Refused`` when it runs where nobody reaches it; nothing of it is left then."""
        address = self._engine.address
        if container.remote_state is RemoteState.EXITED:
            return container
        if container.published is not None and url_of(container.published, address) is not None:
            return container
        await self._inventory.remove(container, force=True)
        raise Refused(
            "PortNotPublished",
            f"the engine published no port of the container that is reached from here: let backend.docker.network be a "
            f"bridge that is not internal, and publishAddress an address of the host of {address.text}",
        )

    async def _holder(self, name: str, uid: str) -> Container:
        """Who has the name: ours, or somebody whom it stays with."""
        for pause in PAUSES:
            if (found := await self._inventory.find(uid)) is not None:
                return found
            try:
                holder = await self._engine.get(f"containers/{name}/json")
            except DockerError as answer:
                if answer.status != 404:
                    raise sort(answer) from None
                # A name is taken before its container can be seen: somebody is making it right now.
                await asyncio.sleep(pause)
                continue
            labels = holder.get("Config", {}).get("Labels") or {}
            if labels.get(INSTALLATION) != self._installation or labels.get(UID) != uid:
                raise Refused(
                    "NameTaken",
                    f"the name {name} belongs to container {holder['Id'][:12]}, which is not of this installation and "
                    "stays untouched: remove or rename it",
                )
        raise Transient(f"the name {name} is taken, but its container is not there yet")
