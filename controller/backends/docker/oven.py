"""Where golden images are baked: starts what is to be baked, and leaves nothing behind."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiodocker import DockerError

from controller.backends.docker.bake import DRAFTS, Bake, BakeOrder, carried_through, sorted_answer
from controller.backends.docker.configuration import (
    Configuration,
    check_reachable,
    container_configuration,
    image_of,
    options_of,
)
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import Unreachable, sort
from controller.backends.docker.images import Images
from controller.backends.docker.names import POOL, PREFIX, UID
from controller.backends.docker.owner import is_alive, this_process
from controller.errors import Refused, Transient
from controller.ports import LaunchOrder

log = logging.getLogger(__name__)

TIDY_SECONDS = 60.0
_START_PAUSES = (*[0.2] * 10, *[1.0] * 5, None)
"""Seconds between tries to start a container; after the last one it is given up."""
_BAKE_UNTIL = f"{PREFIX}bake-until"
_BAKE_OWNER = f"{PREFIX}bake-owner"
_NAME = re.compile(r"agentpool-bake-(\d{10,})-([0-9a-f]{12})(-mould)?")


class Oven:
    """Bakes on one engine."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._images = Images(engine, clock)

    async def sweep(self) -> None:
        """Remove what earlier bakes left behind that were killed."""
        filters = json.dumps({"name": ["^/?agentpool-bake-"]})
        for listed in await sorted_answer(self._engine.get("containers/json", all="1", filters=filters)):
            name, labels = listed["Names"][0].lstrip("/"), listed.get("Labels") or {}
            found = _NAME.fullmatch(name)
            # Names are for people to give: an instance bears its label whatever it is called.
            if found is None or UID in labels:
                continue
            alive = is_alive(labels.get(_BAKE_OWNER, ""))
            if alive is False or (alive is None and int(found.group(1)) < self._clock()):
                log.info("removing what a bake left behind: %s", name)
                await self._tidy(name.removesuffix("-mould"), found.group(2))

    @asynccontextmanager
    async def bake(self, order: BakeOrder) -> AsyncIterator["Bake"]:
        """One bake, with its instance started. Nothing is left of it at the end, except an image that was finished."""
        identity = order.launch.uid.removeprefix("bake-")
        name = f"agentpool-bake-{order.deadline}-{identity}"
        check_reachable(options_of(order.launch), self._engine.address)
        try:
            base = await self._fetch(order.launch)
            container = await carried_through(self._create(name, _running(order, base)))
            await self._start(container)
            bake = Bake(self._engine, order, name, identity, container, base)
            await bake.look()
            yield bake
        finally:
            await carried_through(self._tidy(name, identity))

    async def close(self) -> None:
        """Let go of what is being fetched."""
        await self._images.close()

    async def _fetch(self, order: LaunchOrder) -> str:
        """The id of the image to start from; fetched as the pool would."""
        image, policy = image_of(order), options_of(order).pull_policy
        found = await self._image_id(image)
        if policy == "Always" or (found is None and policy == "IfNotPresent"):
            await self._images.pull(image, order.pull_secret)
            found = await self._image_id(image)
        if found is None:
            raise Refused("ImageNeverPulled", f"the engine has no image {image}: build, load or pull it there")
        return found

    async def _image_id(self, image: str) -> str | None:
        try:
            return str((await self._engine.get(f"images/{image}/json"))["Id"])
        except DockerError as answer:
            if answer.status == 404:
                return None
            raise sort(answer) from None

    async def _start(self, container: str) -> None:
        for pause in _START_PAUSES:
            try:
                await sorted_answer(self._engine.call(lambda docker: docker.containers.container(container).start()))
            except Unreachable:
                raise
            except Transient:
                # The engine chose a port that somebody else on its host has taken; each start chooses the next one.
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _create(self, name: str, body: Configuration) -> str:
        made = await sorted_answer(self._engine.call(lambda docker: docker.containers.create(body, name=name)))
        return str(made.id)

    async def _tidy(self, name: str, identity: str) -> None:
        """Remove every trace; what cannot be removed now is for the next bake."""
        paths = (f"containers/{name}-mould", f"images/{DRAFTS}:{identity}", f"containers/{name}")
        for path in paths:
            params = {"force": "1", "v": "1"} if path.startswith("containers/") else {"force": "1"}
            try:
                async with asyncio.timeout(TIDY_SECONDS):
                    await self._engine.delete(path, **params)
            except DockerError as answer:
                if answer.status not in {404, 409}:
                    log.error("%s could not be removed, the next bake does it: %s", path, sort(answer))
            except (Transient, TimeoutError) as error:
                log.error("%s could not be removed, the next bake does it: %s", path, error)


def _running(order: BakeOrder, base: str) -> Configuration:
    """The pool's own container, but with its state where the engine sees what changes."""
    body = container_configuration(order.launch, "")
    state_dir = order.launch.template.state_dir
    host = {**body["HostConfig"], "Mounts": [], "ReadonlyRootfs": False}
    # Also where the pool has none: what is there is of one run.
    host["Tmpfs"] = {} if f"{state_dir}/".startswith("/tmp/") else {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}  # noqa: S108
    labels = {POOL: order.launch.pool, _BAKE_UNTIL: str(order.deadline), _BAKE_OWNER: this_process()}
    return {**body, "Image": base, "Labels": labels, "HostConfig": host}
