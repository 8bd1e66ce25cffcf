"""Endings: a service is deleted, then the volumes that it leaves; going on wherever an earlier process stopped."""

import logging
from collections.abc import Callable

from controller.backends.locks import Locks
from controller.backends.railway.api import EnvironmentApi
from controller.backends.railway.failures import Rejected, sort
from controller.backends.railway.names import VOLUME, Names
from controller.backends.railway.picture import Picture
from controller.backends.railway.services import Service
from controller.errors import Missing

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 60.0
"""A deletion that was granted and shows no effect is asked for again after this."""


class Endings:
    """Ends services.

    A volume outlives its service and does not say whose it was. So it is renamed before the service is deleted: to a
    name that holds the uid and means that it is to go, by which whoever comes after a crash finds it, or to one by
    which a person recognises what was to be kept.
    """

    def __init__(
        self, api: EnvironmentApi, picture: Picture, names: Names, locks: Locks, clock: Callable[[], float]
    ) -> None:
        self._api = api
        self._picture = picture
        self._names = names
        self._locks = locks
        self._clock = clock
        self._asked: dict[str, float] = {}

    async def end(self, uid: str, fresh: float) -> bool:
        """Begin, or go on. True once nothing is left. What is seen may be ``fresh`` seconds old."""
        async with self._locks(uid):
            self._picture.expect(uid)
            if self._picture.read_at is None:
                await self._picture.refresh()
            services = self._picture.services_of(uid)
            if services and all(self._is_asked(each) for each in services):
                # Deleted, as far as was answered: only a reading that lacks it tells that it is gone.
                await self._picture.refresh_if_older(fresh)
                services = self._picture.services_of(uid)
            for service in services:
                if not self._is_asked(service):
                    await self._delete(service)
            if self._picture.services_of(uid):
                return False
            for volume_id in self._picture.remnants_of(uid):
                await self._delete_volume(volume_id)
            return not self._picture.remnants_of(uid)

    def _is_asked(self, service: Service) -> bool:
        asked = self._asked.get(service.id)
        return asked is not None and self._clock() - asked < ASK_AGAIN_SECONDS

    async def _delete(self, service: Service) -> None:
        volumes = self._picture.volumes_of(service)
        if volumes:
            await self._mark(service, volumes)
        try:
            await self._api.delete_service(service.id)
        except Rejected as error:
            meaning = sort(error, "delete the service")
            if not isinstance(meaning, Missing):
                raise meaning from None
            # It is gone, unless the lists are behind: then they are asked again.
        self._asked = {key: at for key, at in self._asked.items() if self._clock() - at < ASK_AGAIN_SECONDS}
        self._asked[service.id] = self._clock()
        self._picture.learn(service, leaving=True)
        log.info("service %s (%s) of instance %s is deleted", service.name, service.id, service.uid)

    async def _mark(self, service: Service, volumes: list[str]) -> None:
        if service.retains is None:
            configs = await self._api.config()
            config = configs.get(service.id)
            variable = config.variables.get(VOLUME) if config is not None else None
            # What is not said to go stays: a person can still delete it.
            service = self._picture.learn(service, retains=variable is None or variable.value != "Delete")
        doomed = self._names.doomed_volume(service.uid)
        name = self._names.kept_volume(service.uid) if service.retains else doomed
        for volume_id in volumes:
            if self._picture.volume_name(volume_id) == name:
                continue
            try:
                await self._api.rename_volume(volume_id, name)
            except Rejected as error:
                meaning = sort(error, "rename its volume")
                if not isinstance(meaning, Missing):
                    raise meaning from None
            self._picture.name_volume(volume_id, name)

    async def _delete_volume(self, volume_id: str) -> None:
        try:
            await self._api.delete_volume(volume_id)
        except Rejected as error:
            meaning = sort(error, "delete its volume")
            if not isinstance(meaning, Missing):
                raise meaning from None
        self._picture.forget_volume(volume_id)
