"""The life of one deployment: built, started, watched, put to sleep, woken, ended."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.railway.containers import Container, Containers
from tests.railway.counts import Boot, Counts
from tests.railway.faults import Faults
from tests.railway.programs import Catalogue, Program
from tests.railway.records import Deployment, Line, Mount
from tests.railway.settings import Settings
from tests.railway.variables import at_boot, mount_of, on_host
from tests.railway.webhooks import Webhooks
from tests.railway.world import World

LOOK = 1.0
"""The longest time between two looks at whether a service is idle."""
NO_COMMAND = 127
"""Exit code, as of a shell, when there is nothing to start."""
DEFAULT_RETRIES = 10


@dataclass
class Ground:
    """What all lives have in common."""

    world: World
    settings: Settings
    faults: Faults
    counts: Counts
    catalogue: Catalogue
    containers: Containers
    webhooks: Webhooks
    session: aiohttp.ClientSession | None = None
    held: list[str] = field(default_factory=list)
    """Statuses in which the next deployments stay until they are released."""
    closing: bool = False
    """Nothing is given time to end any more."""

    def directory(self, mount: Mount) -> Path:
        """Where the content of a volume is on this host."""
        directory = self.containers.root / "volumes" / mount.id
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def become(self, deployment: Deployment, status: str, machine: str | None = None) -> None:
        """Its new status, and that of its machine."""
        deployment.machine = machine or deployment.machine
        if deployment.status != status:
            deployment.status, deployment.updated = status, self.world.now()
            deployment.history.append(status)


class Life:
    """Begins when it is made."""

    def __init__(
        self, deployment: Deployment, ground: Ground, replace: Callable[[Deployment], Awaitable[None]]
    ) -> None:
        self.deployment = deployment
        self.container: Container | None = None
        self.home: Path | None = None
        self.traffic = 0.0
        """When it last had some, by the loop's clock."""
        self.open_requests = 0
        self.wake = asyncio.Event()
        self.released = asyncio.Event()
        """Whether it may go on from a status in which it was held."""
        self.out_of_memory = False
        self._ground = ground
        self._replace = replace
        self._program: Program | None = None
        self._variables: dict[str, str] = {}
        self._ended = False
        self._task = asyncio.create_task(self._live())

    async def end(self) -> None:
        """Let the program end, and wait until it has."""
        if not self._ended:
            # Once only: a second time would come in the way of what the first one began.
            self._ended = True
            self._task.cancel()
        if self._ground.closing and self.container is not None:
            self.container.kill()
        await asyncio.wait([self._task])

    @property
    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = self.deployment.config.get("deploy", {})
        return options

    async def _live(self) -> None:
        try:
            if await self._build() and await self._roll_out():
                await self._serve()
        finally:
            await self._stop()

    async def _build(self) -> bool:
        """Find what is to run; whether there is something."""
        ground, deployment = self._ground, self.deployment
        if ground.held:
            ground.become(deployment, ground.held.pop(0), "CREATED")
            await self.released.wait()
        ground.become(deployment, "INITIALIZING", "INITIALIZING")
        await asyncio.sleep(ground.settings.initializing)
        if "image" not in deployment.config["source"]:
            ground.become(deployment, "QUEUED")
            await asyncio.sleep(ground.settings.queued)
            ground.become(deployment, "BUILDING")
            await asyncio.sleep(ground.settings.building)
        found = ground.catalogue.find(deployment.config)
        if isinstance(found, str):
            self._fail(found)
            return False
        self._program = found
        return True

    async def _roll_out(self) -> bool:
        """Start it, and see that it is well if somebody says how; whether it serves now."""
        ground, deployment = self._ground, self.deployment
        ground.become(deployment, "DEPLOYING")
        if mount_of(deployment.instance) is not None:
            # Two programs cannot have one volume.
            await self._replace(deployment)
        await self._start("deploy")
        path = self._options.get("healthcheckPath")
        if path is None:
            await asyncio.sleep(ground.settings.deploying)
        elif not await self._is_healthy(path):
            self._fail("Healthcheck failed!")
            return False
        self._serve_again("deployed")
        await self._replace(deployment)
        return True

    async def _serve(self) -> None:
        ground, deployment, options, restarts = self._ground, self.deployment, self._options, 0
        policy = options.get("restartPolicyType", "ON_FAILURE")
        while True:
            code = await self._end_or_idle()
            if code is None:
                await self._sleep()
                continue
            await self._stop()
            again = policy == "ALWAYS" or (policy == "ON_FAILURE" and code != 0)
            if not again or restarts >= options.get("restartPolicyMaxRetries", DEFAULT_RETRIES):
                self._finish(code)
                return
            restarts += 1
            ground.become(deployment, deployment.status, "RESTARTING")
            await asyncio.sleep(ground.settings.restarting)
            # A container that starts anew has nothing of the old one but the volume.
            self.home = None
            await self._start("restart")
            ground.become(deployment, deployment.status, "RUNNING")

    async def _end_or_idle(self) -> int | None:
        """How the program ended; None: it runs, and nobody needs it."""
        if self.container is None:
            return NO_COMMAND
        sleeps = self._options.get("sleepApplication", False)
        while True:
            idle = self._ground.settings.idle
            quiet = asyncio.get_running_loop().time() - self.traffic
            if sleeps and not self.open_requests and quiet >= idle:
                return None
            try:
                async with asyncio.timeout(min(LOOK, idle) if sleeps else None):
                    return await self.container.wait()
            except TimeoutError:
                continue

    async def _sleep(self) -> None:
        """Until somebody needs it."""
        self.wake.clear()
        self._ground.become(self.deployment, "SLEEPING", "STOPPED")
        await self._stop()
        self._ground.webhooks.tell(self.deployment, "slept")
        await self.wake.wait()
        await self._start("wake")
        self._serve_again("resumed")

    def _serve_again(self, event: str) -> None:
        self.traffic = asyncio.get_running_loop().time()
        self._ground.become(self.deployment, "SUCCESS", "RUNNING")
        self._ground.webhooks.tell(self.deployment, event)

    def _finish(self, code: int) -> None:
        self.deployment.stopped = True
        if code == 0:
            self._ground.become(self.deployment, "SUCCESS", "EXITED")
            return
        self._ground.become(self.deployment, "CRASHED", "CRASHED")
        self._ground.webhooks.tell(self.deployment, "oom_killed" if self.out_of_memory else "crashed")

    def _fail(self, why: str) -> None:
        self.deployment.build_log.append(Line(self._ground.world.now(), why, error=True))
        self._ground.become(self.deployment, "FAILED", "REMOVED")
        self._ground.webhooks.tell(self.deployment, "failed")

    async def _start(self, reason: str) -> None:
        """Start the program, if there is such a command: what it was given is noted in any case."""
        ground, deployment, program = self._ground, self.deployment, self._program
        assert program is not None
        instance, replica = deployment.instance, ground.world.new_id()
        if reason == "deploy":
            self._variables = at_boot(deployment, replica)
        variables = self._variables | {"RAILWAY_REPLICA_ID": replica}
        self.home = self.home or ground.containers.root / "containers" / replica
        mount, port = mount_of(instance), ground.containers.free_port()
        volume = None if mount is None else ground.directory(mount)
        environ = on_host(variables, program, port=port, home=self.home, volume=volume)
        _make(self.home, environ["OPENCLAW_STATE_DIR"])
        label, now, where = instance.service.label, ground.world.now(), instance.environment.id
        boot = Boot(instance.service.id, where, deployment.id, label, now, reason, variables, environ)
        ground.counts.boots.append(boot)
        deployment.machine_id = replica
        try:
            self.container = await ground.containers.start(program.command, environ, self.home, deployment.log)
        except OSError as error:
            deployment.log.append(Line(ground.world.now(), f"{program.command[0]}: {error.strerror}", error=True))

    async def _stop(self) -> None:
        """End the program and all it left behind, if there is one."""
        if self.container is None:
            return
        draining = self._options.get("drainingSeconds", self._ground.settings.draining)
        await self.container.stop(0.0 if self._ground.closing else draining)
        await self._ground.containers.bury(self.container)
        self.container = None

    async def _is_healthy(self, path: str) -> bool:
        """Whether the healthcheck succeeds in time."""
        session, container, settings = self._ground.session, self.container, self._ground.settings
        assert session is not None
        if container is None:
            return False
        try:
            async with asyncio.timeout(self._options.get("healthcheckTimeout", settings.healthcheck)):
                while container.running:
                    try:
                        async with session.get(f"http://127.0.0.1:{container.port}{path}") as answer:
                            if answer.status == 200:
                                return True
                    except aiohttp.ClientError:
                        pass
                    await asyncio.sleep(settings.healthcheck_interval)
        except TimeoutError:
            pass
        return False


def _make(*directories: Path | str) -> None:
    for directory in directories:
        Path(directory).mkdir(parents=True, exist_ok=True)
