"""The world of the docker backend: containers of one installation on a real engine."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx

from controller.backends.docker import DockerBackend
from controller.backends.docker.address import read_address
from controller.backends.docker.engine import Engine
from controller.backends.docker.names import INSTALLATION, UID
from controller.errors import Transient
from controller.model import BackendSpec, Template
from controller.ports import Backend, LaunchOrder, Remote, RemoteState
from tests.contract.backend.harness import PATIENCE, eventually
from tests.docker import api

STATE_DIR = "/data"


class DockerHarness:
    """Containers of an engine that other tests may be using too."""

    pauses = True
    renames = True
    asks = True
    exit_told = "exited with code 3"
    kill_told = "SIGKILL"

    def __init__(self, host: str, image: str) -> None:
        self.host = host
        self.environ = {"DOCKER_HOST": host}
        """By which backends reach the engine."""
        self.image = image
        self.installation = str(uuid.uuid4())
        self.installations = {self.installation}
        self.engine = api.Engine(host)
        self.backends: list[DockerBackend] = []
        self.images: set[str] = set()

    async def make(self, installation: str | None = None, *, host: str | None = None) -> DockerBackend:
        """A backend that has started; ``host`` is another way to the same engine."""
        name = self.installation if installation is None else f"{self.installation}-{installation}"
        self.installations.add(name)
        environ = self.environ if host is None else self.environ | {"DOCKER_HOST": host}
        backend = DockerBackend(Engine(read_address(environ)), installation=name)
        await backend.start()
        self.backends.append(backend)
        return backend

    def order(
        self,
        uid: str,
        behaviour: str = "serve",
        env: Mapping[str, str] | None = None,
        docker: Mapping[str, Any] | None = None,
        **template: Any,
    ) -> LaunchOrder:
        if "image" in template:
            self.images.add(template["image"])
        return LaunchOrder(
            uid=uid,
            name=f"pool-{uid}",
            namespace="default",
            pool="pool",
            backend=BackendSpec.model_validate({"docker": dict(docker or {})}),
            template=Template.model_validate({"image": self.image, **template}),
            env={"BEHAVIOUR": behaviour, **(env or {})},
        )

    async def settled(self, backend: Backend, remote: Remote) -> Remote:
        return remote

    async def ready(self, uid: str) -> None:
        await eventually(lambda: self._answers(uid))

    async def environment(self, uid: str) -> Mapping[str, str]:
        seen: dict[str, str] = json.loads(await eventually(lambda: self._answers(uid)))
        return seen

    async def kill_remote(self, uid: str) -> None:
        for container in await self.containers(uid):
            if container["State"] in {"running", "paused"}:
                await asyncio.to_thread(self.engine.post, f"/containers/{container['Id']}/kill")

        await eventually(lambda: self._none_runs(uid))

    async def count_running(self, uid: str) -> int:
        return sum(each["State"] in {"running", "paused", "restarting"} for each in await self.containers(uid))

    async def is_frozen(self, uid: str) -> bool:
        return [each["State"] for each in await self.containers(uid)] == ["paused"]

    async def containers(self, uid: str | None = None) -> list[dict[str, Any]]:
        """What the engine lists of this world, of any of its installations."""
        listed: list[dict[str, Any]] = await asyncio.to_thread(
            self.engine.get, "/containers/json", all="1", filters=json.dumps({"label": [INSTALLATION]})
        )
        return [
            each
            for each in listed
            if each["Labels"][INSTALLATION] in self.installations and (uid is None or each["Labels"].get(UID) == uid)
        ]

    async def inspect(self, uid: str) -> dict[str, Any]:
        """All that the engine knows of the one container of an instance."""
        [container] = await self.containers(uid)
        found: dict[str, Any] = await asyncio.to_thread(self.engine.get, f"/containers/{container['Id']}/json")
        return found

    async def volumes(self) -> list[dict[str, Any]]:
        """Named volumes of this world."""
        found = await asyncio.to_thread(self.engine.get, "/volumes", filters=json.dumps({"label": [INSTALLATION]}))
        return [each for each in found["Volumes"] or [] if each["Labels"][INSTALLATION] in self.installations]

    async def remove_containers(self) -> None:
        """Remove all of this world."""
        for container in await self.containers():
            await asyncio.to_thread(self.engine.delete, f"/containers/{container['Id']}", force="1", v="1")

    async def close(self) -> None:
        for backend in self.backends:
            await backend.close()
        await self.remove_containers()
        for volume in await self.volumes():
            await asyncio.to_thread(self.engine.delete, f"/volumes/{volume['Name']}")
        for image in self.images:
            if await asyncio.to_thread(self.engine.has_image, image):
                await asyncio.to_thread(self.engine.delete, f"/images/{image}", force="1")
        self.engine.close()

    async def _none_runs(self, uid: str) -> bool:
        return await self.count_running(uid) == 0

    async def _answers(self, uid: str) -> bytes | None:
        [container] = await self.containers(uid)
        [port] = [each["PublicPort"] for each in container["Ports"] if "PublicPort" in each]
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/")).content
            except httpx.TransportError:
                return None


async def follow(backend: DockerBackend, take: Callable[[Remote], object]) -> None:
    """Take in every change, over every outage of the engine, until cancelled."""
    while True:
        with suppress(Transient):
            async for remote in backend.changes():
                take(remote)


async def told(backend: DockerBackend, uid: str, state: RemoteState) -> Remote:
    """Wait until a state of an instance is told."""
    found: asyncio.Future[Remote] = asyncio.get_running_loop().create_future()

    def take(remote: Remote) -> None:
        if remote.uid == uid and remote.state is state and not found.done():
            found.set_result(remote)

    following = asyncio.create_task(follow(backend, take))
    try:
        async with asyncio.timeout(PATIENCE):
            return await found
    finally:
        following.cancel()
        await asyncio.wait([following])
