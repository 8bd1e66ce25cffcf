"""What exists: projects with their environments, services, domains, volumes and tokens."""

import random
import uuid
from collections.abc import Callable, Iterator, Mapping

from tests.railway import refusals
from tests.railway.counts import Counts
from tests.railway.faults import Fault, Faults
from tests.railway.patches import merge
from tests.railway.records import Config, Domain, Environment, Instance, Mount, Project, Service, Volume
from tests.railway.settings import Settings

NAME_LENGTH = 32
EDGE_SUFFIX = ".up.railway.localhost"
FIRST = ("amber", "bold", "calm", "dapper", "eager", "fancy", "gentle", "humble", "jolly", "keen", "lucky", "mellow")
SECOND = ("atlas", "brook", "comet", "delta", "ember", "fjord", "grove", "harbor", "island", "jungle", "kettle", "lake")


class World:
    """Knows all, and changes what needs no time. ``clock`` gives seconds since the epoch."""

    def __init__(
        self, seed: int, settings: Settings, faults: Faults, counts: Counts, clock: Callable[[], float]
    ) -> None:
        self.projects: dict[str, Project] = {}
        self.now = clock
        self._settings = settings
        self._faults = faults
        self._counts = counts
        self._dice = random.Random(f"{seed}:world")

    def new_id(self) -> str:
        """The next id."""
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))

    # What is made by hand, on the vendor's pages.

    def add_project(self, name: str, workspace_id: str, workspace_name: str = "agents") -> Project:
        project = Project(self.new_id(), name, workspace_id, workspace_name, self.now())
        self.projects[project.id] = project
        return project

    def add_environment(self, project: Project, name: str, source: Environment | None = None) -> Environment:
        environment = Environment(self.new_id(), name, project, self.now(), source)
        project.environments[environment.id] = environment
        return environment

    # What is looked up.

    def environment(self, environment_id: str) -> Environment | None:
        found = (each.environments.get(environment_id) for each in self.projects.values())
        return next((each for each in found if each is not None), None)

    def service(self, service_id: str) -> Service | None:
        """A service that is not deleted."""
        found = (each.services.get(service_id) for each in self.projects.values())
        return next((each for each in found if each is not None and each.deleted is None), None)

    def volume(self, volume_id: str) -> Volume | None:
        found = (each.volumes.get(volume_id) for each in self.projects.values())
        return next((each for each in found if each is not None), None)

    def instance(self, service_id: str, environment: Environment) -> Instance:
        """A service of an environment as mutations find it."""
        found = environment.instances.get(service_id)
        if found is None or found.deleted is not None or self.now() < found.visible:
            raise refusals.no_instance()
        return found

    def listed(self, environment: Environment) -> list[Instance]:
        """The services of an environment as lists show them: late, both at the beginning and at the end."""
        now = self.now()
        return [
            each
            for each in environment.instances.values()
            if each.visible <= now and (each.deleted is None or now < each.listed_until)
        ]

    def instances(self) -> Iterator[Instance]:
        """All that there are, deleted ones included."""
        for project in self.projects.values():
            for environment in project.environments.values():
                yield from environment.instances.values()

    def by_domain(self, domain: str) -> Instance | None:
        """Where a domain leads."""
        alive = (each for each in self.instances() if each.deleted is None)
        return next((each for each in alive if any(other.domain == domain for other in each.domains)), None)

    # Services.

    def create_service(
        self, project: Project, name: str | None, environment: Environment | None, config: Config, icon: str | None
    ) -> Service:
        """A new service, in one environment or in all that are no forks."""
        name = self._new_name(project) if name is None else name
        limit = self._settings.services
        if len(name) > NAME_LENGTH:
            raise refusals.name_too_long()
        alive = [each for each in project.services.values() if each.deleted is None]
        if any(each.name == name for each in alive):
            raise refusals.name_taken(name)
        if limit is not None and len(alive) >= limit:
            raise refusals.services_used_up(limit)
        now = self.now()
        label = config.get("variables", {}).get(self._settings.label, {}).get("value", "")
        service = Service(self.new_id(), name, project, now, now, icon, label=label)
        project.services[service.id] = service
        self._counts.created[label] += 1
        hidden = self._faults.strikes(Fault.INVISIBLE)
        visible = now + self._faults.draw(Fault.INVISIBLE, self._settings.invisible) if hidden else 0.0
        for each in self._homes(project, environment):
            instance = Instance(self.new_id(), service, each, now, now, merge({}, config), visible)
            instance.had_variables |= config.get("variables", {}).keys()
            each.instances[service.id] = instance
        return service

    def rename(self, service: Service, name: str) -> None:
        """Give it another name, unless somebody has that."""
        if len(name) > NAME_LENGTH:
            raise refusals.name_too_long()
        others = (each for each in service.project.services.values() if each is not service and each.deleted is None)
        if any(each.name == name for each in others):
            raise refusals.name_taken(name)
        service.name, service.updated = name, self.now()

    def delete_instances(self, service: Service, environment: Environment | None) -> list[Instance]:
        """Delete a service in one fork, or altogether; what was deleted. Its volumes stay."""
        now, fork = self.now(), environment is not None and environment.source is not None
        deleted = []
        for home in service.project.environments.values():
            instance = home.instances.get(service.id)
            if instance is None or instance.deleted is not None or (fork and home is not environment):
                continue
            instance.deleted = now
            if self._faults.strikes(Fault.STALE):
                instance.listed_until = now + self._faults.draw(Fault.STALE, self._settings.stale)
            for mount in home.mounts.values():
                if mount.service_id == service.id:
                    self.detach(mount)
            deleted.append(instance)
        if all(home.instances[service.id].deleted is not None for home in _of(service)):
            service.deleted = now
        return deleted

    def detach(self, mount: Mount) -> None:
        """The service of a volume is no more."""
        mount.attached = False
        if self._settings.detached_volume == "null":
            mount.service_id = None

    # Domains.

    def create_domain(self, instance: Instance, target_port: int | None) -> Domain:
        """A new one for a service; the names that the vendor gives are never given twice."""
        if self._faults.strikes(Fault.DOMAIN_REFUSED):
            raise refusals.no_domain_yet()
        suffix = f"{self._dice.getrandbits(16):04x}"
        label = "".join(each if each.isalnum() else "-" for each in instance.service.name.lower()).strip("-")
        environment = "".join(each if each.isalnum() else "-" for each in instance.environment.name.lower())
        name = f"{label}-{environment}-{suffix}"[-63:].strip("-")
        domain = Domain(self.new_id(), name + EDGE_SUFFIX, target_port, self.now())
        instance.domains.append(domain)
        return domain

    # Volumes.

    def create_volume(
        self, project: Project, homes: list[Environment], service_id: str | None, path: str, region: str | None
    ) -> Volume:
        """A new one with a name that nobody chose, in some environments."""
        limit = self._settings.limits.volumes
        if len(project.volumes) >= limit:
            raise refusals.volumes_used_up(limit)
        for home in homes:
            if service_id is not None and any(each.service_id == service_id for each in home.mounts.values()):
                raise refusals.volume_taken()
        volume = Volume(self.new_id(), f"{self._dice.choice(FIRST)}-volume-{self._word()}", project, self.now())
        project.volumes[volume.id] = volume
        for home in homes:
            mount = Mount(self.new_id(), volume, home, service_id, path, self.now())
            mount.region = region or mount.region
            home.mounts[volume.id] = mount
        self._counts.volumes_created += 1
        return volume

    def delete_volume(self, volume: Volume) -> None:
        """Forget it; its directory is not ours."""
        volume.project.volumes.pop(volume.id, None)
        for home in volume.project.environments.values():
            home.mounts.pop(volume.id, None)

    def mounts_of(self, volume: Volume) -> Mapping[str, Mount]:
        """By environment."""
        homes = volume.project.environments.values()
        return {home.id: home.mounts[volume.id] for home in homes if volume.id in home.mounts}

    def _homes(self, project: Project, environment: Environment | None) -> list[Environment]:
        if environment is not None and (environment.source is not None or not self._settings.create_everywhere):
            return [environment]
        return [each for each in project.environments.values() if each.source is None]

    def _new_name(self, project: Project) -> str:
        taken = {each.name for each in project.services.values()}
        while (name := f"{self._dice.choice(FIRST)}-{self._dice.choice(SECOND)}-{self._word()}") in taken:
            pass
        return name

    def _word(self) -> str:
        return f"{self._dice.getrandbits(20):05x}"


def _of(service: Service) -> list[Environment]:
    return [each for each in service.project.environments.values() if service.id in each.instances]
