"""Launches: a service is made in steps, each of which is found done, or done, and never done twice."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from controller.backends.locks import Locks
from controller.backends.railway.api import EnvironmentApi
from controller.backends.railway.failures import Rejected, Throttled, Unanswered, sort
from controller.backends.railway.names import Names
from controller.backends.railway.patch import labels_of, options_of, patch_of, source_of, variables_of
from controller.backends.railway.picture import Picture
from controller.backends.railway.services import Service
from controller.errors import Missing, Refused, Transient
from controller.ports import LaunchOrder, Remote

log = logging.getLogger(__name__)

LOOK_PAUSES = (0.0, 1.0, 2.0, 4.0)
"""Seconds between looks for what may have been done: lists are not consistent at once."""

Sleep = Callable[[float], Awaitable[None]]
Found = TypeVar("Found")


class Launches:
    """Service without a source, volume, domain, then one commit with everything, which is the one deployment.

    Before the commit nothing can boot, so nothing boots without all of its variables. After an answer that is not
    certain comes a look: what is found is adopted. What is not found is left to the next launch of the same instance.
    """

    def __init__(
        self, api: EnvironmentApi, picture: Picture, names: Names, installation: str, locks: Locks, sleep: Sleep
    ) -> None:
        self._api = api
        self._picture = picture
        self._names = names
        self._installation = installation
        self._locks = locks
        self._sleep = sleep
        self._abandoned: set[str] = set()

    def abandon(self, uid: str) -> None:
        """The instance is to end: no launch of it takes another step. Its uid is never launched again."""
        self._abandoned.add(uid)

    def forget(self, uid: str) -> None:
        """Nothing of the instance is left."""
        self._abandoned.discard(uid)

    async def launch(self, order: LaunchOrder) -> Remote:
        """The remote of an instance: found, finished or made."""
        # What can never work is refused before anything is made.
        source_of(order.template)
        variables = variables_of(order, self._installation)
        patch_of(order, "", variables)
        async with self._locks(order.uid):
            self._go_on(order)
            self._picture.expect(order.uid, order.namespace)
            if self._picture.read_at is None:
                await self._picture.refresh()
            services = self._picture.services_of(order.uid)
            service = services[0] if services else await self._create(order)
            if not service.committed:
                await self._furnish(order, service, variables)
            for extra in services[1:]:
                await self._end_extra(extra)
        remote = self._picture.remote(order.uid)
        if remote is None:
            raise Transient("the service vanished from Railway while it was made")
        return remote

    def _go_on(self, order: LaunchOrder) -> None:
        if order.uid in self._abandoned:
            raise Transient("the instance was ended while it was launched")

    async def _create(self, order: LaunchOrder) -> Service:
        name, volume = self._names.creation_name(order.uid), order.template.volume
        retains = volume.on_delete == "Retain" if volume is not None else None
        try:
            service_id = await self._api.create_service(name, labels_of(order, self._installation))
        except (Unanswered, Rejected) as error:
            # The name is the instance's own: one that exists was made by an earlier try, of whichever process.
            return await self._found(error, "create the service", lambda: self._first(order.uid))
        log.info("instance %s is service %s (%s)", order.uid, name, service_id)
        return self._picture.made(service_id, order.uid, name, retains=retains)

    def _first(self, uid: str) -> Service | None:
        return next(iter(self._picture.services_of(uid)), None)

    async def _furnish(self, order: LaunchOrder, service: Service, variables: dict[str, str]) -> None:
        self._go_on(order)
        if order.template.volume is not None and not self._picture.volumes_of(service):
            await self._add_volume(order, service)
        self._go_on(order)
        if service.domain is None:
            service = await self._domain(order, service)
        self._go_on(order)
        patch = patch_of(order, service.id, variables)
        try:
            await self._api.commit(patch, f"agentpool: {order.namespace}/{order.name}")
        except (Unanswered, Rejected) as error:
            await self._found(error, "configure the service", lambda: self._known(service, lambda it: it.committed))
        else:
            self._picture.learn(service, committed=True)

    async def _add_volume(self, order: LaunchOrder, service: Service) -> None:
        try:
            await self._api.create_volume(service.id, order.template.state_dir, options_of(order).region)
        except (Unanswered, Rejected) as error:
            await self._found(error, "create its volume", lambda: self._picture.volumes_of(service) or None)

    async def _domain(self, order: LaunchOrder, service: Service) -> Service:
        try:
            domain = await self._api.create_domain(service.id, order.template.port)
        except (Unanswered, Rejected) as error:
            return await self._found(
                error, "give it a domain", lambda: self._known(service, lambda it: it.domain is not None)
            )
        return self._picture.learn(service, domain=domain)

    def _known(self, service: Service, condition: Callable[[Service], bool]) -> Service | None:
        known = next((each for each in self._picture.services_of(service.uid) if each.id == service.id), None)
        return known if known is not None and condition(known) else None

    async def _found(self, error: Unanswered | Rejected, doing: str, look: Callable[[], Found | None]) -> Found:
        """What was done although the answer did not say so; raises the answer's meaning when nothing is found."""
        meaning = sort(error, doing) if isinstance(error, Rejected) else error
        if isinstance(meaning, Refused | Throttled):
            raise meaning from None
        for pause in LOOK_PAUSES:
            if pause:
                await self._sleep(pause)
            try:
                await self._picture.refresh()
            except Transient as trouble:
                log.info("what Railway did cannot be seen yet: %s", trouble)
                continue
            if (found := look()) is not None:
                return found
        raise meaning if isinstance(meaning, Transient) else Transient(str(meaning))

    async def _end_extra(self, service: Service) -> None:
        """A second service of one instance, as two controllers could make it, or a person by duplicating."""
        log.warning("service %s is a second one of instance %s: it is deleted", service.id, service.uid)
        try:
            await self._api.delete_service(service.id)
        except (Missing, Rejected, Transient) as error:
            log.info("service %s is deleted later: %s", service.id, error)
