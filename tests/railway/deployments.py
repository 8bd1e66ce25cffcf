"""All deployments: begun, removed, stopped, restarted, and found again."""

import asyncio
import copy
import shutil

import aiohttp

from tests.railway.faults import Fault
from tests.railway.life import Ground, Life
from tests.railway.records import Deployment, Instance

UP = frozenset({"SUCCESS", "SLEEPING", "CRASHED"})
GONE = frozenset({"REMOVING", "REMOVED"})


class Deployments:
    """What becomes of them is told in their records."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._lives: dict[str, Life] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self.ground.session = aiohttp.ClientSession()

    async def close(self) -> None:
        """End all at once."""
        self.ground.closing = True
        await asyncio.gather(*(life.end() for life in self._lives.values()))
        if self._ending:
            await asyncio.wait(self._ending)
        if self.ground.session is not None:
            await self.ground.session.close()

    def deploy(self, instance: Instance) -> Deployment:
        """Run an instance as it is configured now. Earlier attempts that are not up yet are given up."""
        ground = self.ground
        now = ground.world.now()
        deployment = Deployment(
            ground.world.new_id(), instance, copy.deepcopy(instance.config), now, "INITIALIZING", now, ["INITIALIZING"]
        )
        if ground.faults.strikes(Fault.DEPLOYMENT_UNSEEN):
            deployment.visible = now + ground.faults.draw(Fault.DEPLOYMENT_UNSEEN, ground.settings.invisible)
        for earlier in instance.deployments:
            if earlier.status not in UP:
                self.remove(earlier, torn_down=False)
        instance.deployments.append(deployment)
        ground.counts.deployments[instance.service.id] += 1
        self._begin(deployment)
        return deployment

    def remove(self, deployment: Deployment, *, torn_down: bool = True) -> None:
        """End what runs, and let the deployment be no more; that takes its time."""
        deployment.torn_down = deployment.torn_down or torn_down
        if deployment.status in GONE:
            return
        if deployment.status != "FAILED":
            self.ground.become(deployment, "REMOVING", "REMOVING")
        task = asyncio.create_task(self._remove(deployment))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def remove_all(self, instance: Instance) -> None:
        """The service is deleted."""
        for deployment in instance.deployments:
            self.remove(deployment)

    async def stop(self, deployment: Deployment) -> None:
        """End what runs; the deployment stays as one that is completed."""
        await self._end(deployment)
        deployment.stopped = True
        self.ground.become(deployment, deployment.status, "STOPPED")

    async def restart(self, deployment: Deployment) -> None:
        """Start the same program again."""
        await self._end(deployment)
        deployment.stopped = False
        self._begin(deployment)

    def release(self, deployment: Deployment) -> None:
        """Let one go on that was held."""
        if (life := self._lives.get(deployment.id)) is not None:
            life.released.set()

    def life_of(self, instance: Instance) -> Life | None:
        """What serves requests to an instance: the latest that is up, or asleep, or dead."""
        for deployment in reversed(instance.deployments):
            if deployment.status in UP:
                return self._lives.get(deployment.id)
        return None

    def kill(self, instance: Instance, number: int, *, out_of_memory: bool = False) -> bool:
        """Signal the program of an instance; whether one runs."""
        life = self.life_of(instance)
        if life is None or life.container is None or not life.container.running:
            return False
        life.out_of_memory = out_of_memory
        life.container.signal(number)
        return True

    def _begin(self, deployment: Deployment) -> None:
        self._lives[deployment.id] = Life(deployment, self.ground, self._replace)

    async def _replace(self, deployment: Deployment) -> None:
        """End the earlier deployments of an instance; those that share its volume at once, others in their time."""
        earlier = [each for each in deployment.instance.deployments if each is not deployment]
        for each in earlier:
            self.remove(each, torn_down=False)
        if deployment.status == "DEPLOYING":
            await asyncio.gather(*(self._end(each) for each in earlier))

    async def _remove(self, deployment: Deployment) -> None:
        life = self._lives.get(deployment.id)
        await self._end(deployment)
        if life is not None and life.home is not None:
            await asyncio.to_thread(shutil.rmtree, life.home, ignore_errors=True)
        if deployment.status == "REMOVING":
            await asyncio.sleep(0 if self.ground.closing else self.ground.settings.removing)
            deployment.stopped = True
            self.ground.become(deployment, "REMOVED", "REMOVED")
        self._lives.pop(deployment.id, None)

    async def _end(self, deployment: Deployment) -> None:
        if (life := self._lives.get(deployment.id)) is not None:
            await life.end()
