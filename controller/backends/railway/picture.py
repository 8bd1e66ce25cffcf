"""The picture: what is known of our services in one environment, from readings and from our own doings."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from controller.backends.railway.api import EnvironmentApi, Reading
from controller.backends.railway.names import ENVIRONMENT, INSTALLATION, INSTANCE, POOL, VOLUME, Names
from controller.backends.railway.patch import drift_of
from controller.backends.railway.services import Service
from controller.backends.railway.shapes import ServiceConfig, ServiceInstance
from controller.backends.railway.statuses import Standing
from controller.ports import Remote, RemoteState

log = logging.getLogger(__name__)

UNSEEN_SECONDS = 60.0
"""So long a service that was just made may be missing in the lists: they are not consistent at once."""
ABSENT_SECONDS = 120.0
"""A service that the lists have lacked for so long is gone from this environment, though its project may have it."""
SETTLED_SECONDS = 60.0
"""Configurations of services that changed since are not judged: they may be half there."""
LOOKS = 10
"""So many services that vanished are looked for one by one after one reading; the others after the next."""


class Picture:
    """What exists, as last known. A reading that fails changes nothing: unknown is never taken for gone."""

    def __init__(
        self,
        api: EnvironmentApi,
        names: Names,
        installation: str,
        environment_id: str,
        url_of: Callable[[str], str],
        clock: Callable[[], float],
        now: Callable[[], datetime],
        drift_seconds: float,
    ) -> None:
        """``drift_seconds``: how often configurations are compared with what they were made as."""
        self._api = api
        self._names = names
        self._installation = installation
        self._environment_id = environment_id
        self._url_of = url_of
        self._clock = clock
        self._now = now
        self._drift_seconds = drift_seconds
        self._services: dict[str, Service] = {}
        self._volumes: dict[str, tuple[str, str | None]] = {}
        self._strays: dict[str, set[str]] = {}
        self._uid_of_tag: dict[str, str] = {}
        self._namespaces: dict[str, str] = {}
        """By uid; of what was never configured, nobody knows."""
        self._foreign: set[str] = set()
        self._drift_at = clock()
        self._reading: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self.read_at: float | None = None
        """When the last reading began that came to its end; ``None``: nothing is known yet."""
        self.changed: Callable[[], None] = lambda: None
        """Called after every reading."""

    # Reading.

    async def refresh(self) -> None:
        """Read anew: a reading that begins after this call, shared by all who ask meanwhile."""
        if self._next is None:
            self._next = asyncio.create_task(self._read_after(self._reading))
            self._next.add_done_callback(_retrieve)
        await asyncio.shield(self._next)

    async def refresh_if_older(self, seconds: float) -> None:
        """Read anew unless the last reading began less than so many seconds ago."""
        if self.read_at is None or self._clock() - self.read_at >= seconds:
            await self.refresh()

    async def close(self) -> None:
        """Give up the readings under way."""
        tasks = [task for task in (self._reading, self._next) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._reading, self._next = self._next, None
        began = self._clock()
        reading = await self._api.read()
        configs = await self._configs_if_needed(reading)
        await self._take_in(reading, configs, began)
        self.read_at = began
        self.changed()

    async def _configs_if_needed(self, reading: Reading) -> Mapping[str, ServiceConfig] | None:
        """Whose a service is that only its labels can tell, and now and then what somebody changed."""
        strangers = any(self._may_be_ours(node) and not self._knows(node) for node in reading.services)
        due = bool(self._services) and self._clock() - self._drift_at >= self._drift_seconds
        if not strangers and not due:
            return None
        configs = await self._api.config()
        self._drift_at = self._clock()
        return configs

    def _may_be_ours(self, node: ServiceInstance) -> bool:
        return self._names.tag_of(node.service_name) is not None and node.service_id not in self._foreign

    def _knows(self, node: ServiceInstance) -> bool:
        return node.service_id in self._services or self._names.tag_of(node.service_name) in self._uid_of_tag

    async def _take_in(self, reading: Reading, configs: Mapping[str, ServiceConfig] | None, began: float) -> None:
        found: dict[str, Service] = {}
        for node in reading.services:
            uid = self._uid_of(node, configs)
            if uid is not None:
                known = self._services.get(node.service_id)
                known = known or Service(node.service_id, uid, node.service_name, self._clock())
                found[node.service_id] = known.seen(node, self._now())
        before = self._volumes
        self._volumes = {each.volume_id: (each.volume.name, each.service_id) for each in reading.volumes}
        missing = [each for each in self._services.values() if each.id not in found and each.made_at <= began]
        for each in await self._still_there(missing):
            found[each.id] = each
        # What was made while the reading was under way is newer than it.
        newer = {each.id: each for each in self._services.values() if each.made_at > began and each.id not in found}
        gone = self._services.keys() - found.keys() - newer.keys()
        for service_id in gone:
            self._remember_volumes(self._services[service_id], before)
        self._services = found | newer
        if configs is not None:
            self._judge(configs)

    def _uid_of(self, node: ServiceInstance, configs: Mapping[str, ServiceConfig] | None) -> str | None:
        if node.service_id in self._services:
            return self._services[node.service_id].uid
        tag = self._names.tag_of(node.service_name)
        if tag is None:
            return None
        if tag in self._uid_of_tag:
            return self._uid_of_tag[tag]
        config = configs.get(node.service_id) if configs is not None else None
        if config is None:
            return None
        installation, environment, uid = (_value(config, name) for name in (INSTALLATION, ENVIRONMENT, INSTANCE))
        if uid and (installation, environment) == (self._installation, self._environment_id):
            if self._names.tag(uid) == tag:
                self.expect(uid, (_value(config, POOL) or "").partition("/")[0])
                return uid
        elif installation and environment:
            self._foreign.add(node.service_id)
        return None

    async def _still_there(self, missing: Sequence[Service]) -> list[Service]:
        """Those of the services that a reading lacks which exist all the same, as far as known."""
        kept, looks, now = [], 0, self._clock()
        for each in missing:
            if each.leaving:
                continue
            since = each.absent_since if each.absent_since is not None else now
            unseen = each.created_at is None and now - each.made_at < UNSEEN_SECONDS
            if unseen or looks >= LOOKS:
                kept.append(replace(each, absent_since=since))
                continue
            looks += 1
            if await self._api.exists(each.id) and now - since < ABSENT_SECONDS:
                kept.append(replace(each, absent_since=since))
        return kept

    def _judge(self, configs: Mapping[str, ServiceConfig]) -> None:
        for each in tuple(self._services.values()):
            config = configs.get(each.id)
            if config is None:
                continue
            policy = _value(config, VOLUME)
            retains = policy == "Retain" if policy else each.retains
            settled = each.committed and self._clock() - each.made_at >= min(SETTLED_SECONDS, self._drift_seconds)
            drift = drift_of(config) if settled else each.drift
            if drift and drift != each.drift:
                log.warning("service %s of instance %s: %s", each.name, each.uid, drift)
            self._services[each.id] = replace(each, drift=drift, retains=retains)

    def _remember_volumes(self, service: Service, before: Mapping[str, tuple[str, str | None]]) -> None:
        """Its volumes outlive a service, whoever deleted it; those that are to stay are nobody's business any more.

        A volume that is detached does not say any more whose it was: the reading ``before`` does.
        """
        volumes = {key for key, (_, owner) in before.items() if owner == service.id}
        if volumes and service.retains is False:
            self._strays.setdefault(service.uid, set()).update(volumes)

    # Our own doings.

    def expect(self, uid: str, namespace: str = "") -> None:
        """Services with the tag of this instance are its own, without a look at their labels."""
        self._uid_of_tag[self._names.tag(uid)] = uid
        if namespace:
            self._namespaces[uid] = namespace

    def made(self, service_id: str, uid: str, name: str, *, retains: bool | None) -> Service:
        """A service was just made: it exists, whether or not the lists have it yet."""
        service = Service(service_id, uid, name, self._clock(), retains=retains)
        return self._services.setdefault(service_id, service)

    def learn(self, service: Service, **change: object) -> Service:
        """What an answer said about a service."""
        known = replace(self._services.get(service.id, service), **change)  # type: ignore[arg-type]
        self._services[service.id] = known
        return known

    def name_volume(self, volume_id: str, name: str) -> None:
        """The volume was renamed."""
        if volume_id in self._volumes:
            self._volumes[volume_id] = (name, self._volumes[volume_id][1])

    def forget_volume(self, volume_id: str) -> None:
        """The volume is gone for sure."""
        self._volumes.pop(volume_id, None)
        for strays in self._strays.values():
            strays.discard(volume_id)

    # What is known.

    def services_of(self, uid: str) -> list[Service]:
        """The services of an instance, the one that counts first: there should never be more than one."""
        found = [each for each in self._services.values() if each.uid == uid]
        beginning = datetime.max.replace(tzinfo=UTC)
        return sorted(found, key=lambda each: (not each.committed, each.created_at or beginning, each.id))

    def volumes_of(self, service: Service) -> list[str]:
        """Volumes that are attached to a service."""
        return [key for key, (_, owner) in self._volumes.items() if owner == service.id]

    def volume_name(self, volume_id: str) -> str | None:
        """What a volume is called."""
        known = self._volumes.get(volume_id)
        return known[0] if known is not None else None

    def remnants_of(self, uid: str) -> list[str]:
        """Volumes that should have gone with the service of an instance."""
        name = self._names.doomed_volume(uid)
        attached = {each.id for each in self._services.values()}
        doomed = [key for key, (its, owner) in self._volumes.items() if its == name and owner not in attached]
        return sorted({*doomed, *(key for key in self._strays.get(uid, ()) if key in self._volumes)})

    def remote(self, uid: str) -> Remote | None:
        """The remote of an instance, if there is anything of it."""
        services = self.services_of(uid)
        if services:
            return self._remote_of(services[0])
        remnants = self.remnants_of(uid)
        if remnants:
            message, namespace = "its service is gone, but its volume is left", self._namespaces.get(uid, "")
            return Remote(uid, remnants[0], RemoteState.EXITED, None, message, namespace=namespace)
        return None

    def remotes(self) -> dict[str, Remote]:
        """Everything that leaves a trace."""
        uids: Iterable[str | None] = (
            *(each.uid for each in self._services.values()),
            *(self._names.owner_of_doomed(name) for name, _ in self._volumes.values()),
            *self._strays,
        )
        found = {uid: self.remote(uid) for uid in uids if uid is not None}
        return {uid: remote for uid, remote in found.items() if remote is not None}

    def _remote_of(self, service: Service) -> Remote:
        standing = service.standing or Standing(RemoteState.BUILDING, "it is about to be deployed")
        return Remote(
            uid=service.uid,
            backend_id=service.id,
            state=standing.state,
            url=self._url_of(service.domain) if service.domain is not None else None,
            message=standing.message,
            anonymous=service.name == self._names.creation_name(service.uid),
            since=standing.since,
            partial=not service.committed,
            drift=service.drift,
            namespace=self._namespaces.get(service.uid, ""),
        )


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        # Whoever asked for it may have given up.
        task.exception()


def _value(config: ServiceConfig, name: str) -> str | None:
    variable = config.variables.get(name)
    return variable.value if variable is not None else None
