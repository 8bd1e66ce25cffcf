"""What can be changed."""

import asyncio
from collections.abc import Mapping
from typing import Any

from tests.railway import refusals
from tests.railway.access import Access, Info
from tests.railway.commits import Commits
from tests.railway.counts import Counts
from tests.railway.deployments import Deployments
from tests.railway.faults import Fault, Faults
from tests.railway.patches import check
from tests.railway.records import Config, Deployment, Environment, Instance, Service, Token, Volume
from tests.railway.settings import Settings
from tests.railway.views import View, Views
from tests.railway.world import World

Input = Mapping[str, Any]
BUSY = frozenset({"INITIALIZING", "QUEUED", "BUILDING", "DEPLOYING", "WAITING"})


class Mutations:
    """One method for each field of the type Mutation, in the words of Python."""

    def __init__(
        self,
        world: World,
        access: Access,
        views: Views,
        commits: Commits,
        deployments: Deployments,
        settings: Settings,
        faults: Faults,
        counts: Counts,
    ) -> None:
        self._world = world
        self._access = access
        self._views = views
        self._commits = commits
        self._deployments = deployments
        self._settings = settings
        self._faults = faults
        self._counts = counts

    # Services.

    def service_create(self, info: Info, input: Input) -> View:  # noqa: A002
        token, environment_id = self._writer(info), input.get("environmentId")
        project = self._access.project(token, input["projectId"])
        environment = None if environment_id is None else self._access.environment(token, environment_id, project.id)
        if environment is None and token.kind == "Project":
            raise refusals.not_authorized()
        config = _first_config(input)
        label = config.get("variables", {}).get(self._settings.label, {}).get("value", "")
        self._counts.mutations_by_label[label][info.field_name] += 1
        self._throttle("services", info)
        service = self._world.create_service(project, input.get("name"), environment, config, input.get("icon"))
        self._counts.mutations[service.id][info.field_name] += 1
        if config.get("source"):
            for home in project.environments.values():
                if service.id in home.instances:
                    self._deployments.deploy(home.instances[service.id])
        return self._views.service(service)

    def service_update(self, info: Info, id: str, input: Input) -> View:  # noqa: A002
        service = self._service(info, id)
        if input.get("name") is not None:
            self._world.rename(service, input["name"])
        if "icon" in input:
            service.icon = input["icon"]
        return self._views.service(service)

    def service_delete(self, info: Info, id: str, environmentId: str | None = None) -> bool:  # noqa: A002, N803
        service, environment = self._service(info, id), self._environment(info, environmentId)
        for home in list(service.project.environments.values()):
            if service.id in home.instances:
                self._commits.delete(home.instances[service.id], environment)
                break
        return True

    def service_domain_create(self, info: Info, input: Input) -> View:  # noqa: A002
        self._touch(info, input["serviceId"])
        environment = self._access.environment(self._writer(info), input["environmentId"])
        found = environment.instances.get(input["serviceId"])
        if found is not None and self._world.now() < found.visible:
            raise refusals.no_domain_yet()
        instance = self._world.instance(input["serviceId"], environment)
        return self._views.domain(self._world.create_domain(instance, input.get("targetPort")), instance)

    def service_domain_delete(self, info: Info, id: str) -> bool:  # noqa: A002
        token = self._writer(info)
        for instance in self._world.instances():
            for domain in instance.domains:
                if domain.id == id:
                    self._access.environment(token, instance.environment.id)
                    self._touch(info, instance.service.id)
                    instance.domains.remove(domain)
                    return True
        raise refusals.refusal("Service domain not found")

    # Configuration.

    async def environment_patch_commit(
        self,
        info: Info,
        environmentId: str,  # noqa: N803
        patch: Input | None = None,
        commitMessage: str | None = None,  # noqa: N803
    ) -> str:
        environment = self._access.environment(self._writer(info), environmentId)
        check(patch or {})
        for service_id in (patch or {}).get("services") or {}:
            self._touch(info, service_id)
        return await self._commits.commit(environment, patch or {})

    def service_instance_update(
        self,
        info: Info,
        serviceId: str,  # noqa: N803
        input: Input,  # noqa: A002
        environmentId: str | None = None,  # noqa: N803
    ) -> bool:
        for instance in self._instances(info, serviceId, environmentId):
            self._commits.update(instance, input)
        return True

    def variable_collection_upsert(self, info: Info, input: Input) -> bool:  # noqa: A002
        environment = self._access.environment(self._writer(info), input["environmentId"], input["projectId"])
        replace, variables = input["replace"], input["variables"]
        if (service_id := input.get("serviceId")) is None:
            kept = {} if replace else environment.shared
            environment.shared = {**kept, **{name: str(value) for name, value in variables.items()}}
            return True
        self._touch(info, service_id)
        instance = self._world.instance(service_id, environment)
        self._commits.set_variables(instance, variables, replace=replace, deploy=not input["skipDeploys"])
        return True

    # Deployments.

    def service_instance_deploy_v2(
        self,
        info: Info,
        serviceId: str,  # noqa: N803
        environmentId: str,  # noqa: N803
        commitSha: str | None = None,  # noqa: N803
    ) -> str:
        [instance] = self._instances(info, serviceId, environmentId)
        source = instance.config.get("source")
        if not source:
            raise refusals.refusal("Cannot deploy a service without a source")
        if commitSha is not None:
            source["commitSha"] = commitSha
        return self._deployments.deploy(instance).id

    def deployment_redeploy(self, info: Info, id: str, **_: Any) -> View:  # noqa: A002
        deployment = self._deployment(info, id)
        if deployment.status in BUSY:
            raise refusals.cannot_redeploy()
        return self._views.deployment(self._deployments.deploy(deployment.instance))

    def deployment_remove(self, info: Info, id: str) -> bool:  # noqa: A002
        self._deployments.remove(self._deployment(info, id))
        return True

    async def deployment_restart(self, info: Info, id: str) -> bool:  # noqa: A002
        await self._deployments.restart(self._deployment(info, id))
        return True

    async def deployment_stop(self, info: Info, id: str) -> bool:  # noqa: A002
        await self._deployments.stop(self._deployment(info, id))
        return True

    # Volumes.

    def volume_create(self, info: Info, input: Input) -> View:  # noqa: A002
        token, service_id = self._writer(info), input.get("serviceId")
        project = self._access.project(token, input["projectId"])
        homes = [each for each in project.environments.values() if each.source is None]
        if "environmentId" in input:
            wanted = input["environmentId"]
            homes = [] if wanted is None else [self._access.environment(token, wanted, project.id)]
        if service_id is not None:
            self._touch(info, service_id)
            for home in homes:
                self._world.instance(service_id, home)
        self._throttle("volumes", info)
        return self._views.volume(
            self._world.create_volume(project, homes, service_id, input["mountPath"], input.get("region"))
        )

    def volume_update(self, info: Info, volumeId: str, input: Input) -> View:  # noqa: A002, N803
        volume = self._volume(info, volumeId)
        if input.get("name") is not None:
            volume.name = input["name"]
        return self._views.volume(volume)

    async def volume_delete(self, info: Info, volumeId: str) -> bool:  # noqa: N803
        volume = self._volume(info, volumeId)
        for mount in self._world.mounts_of(volume).values():
            mount.pending_deletion = True
        if self._settings.volume_deletion:
            asyncio.get_running_loop().call_later(self._settings.volume_deletion, self._world.delete_volume, volume)
        else:
            self._world.delete_volume(volume)
        return True

    def volume_instance_update(
        self,
        info: Info,
        volumeId: str,  # noqa: N803
        input: Input,  # noqa: A002
        environmentId: str | None = None,  # noqa: N803
    ) -> bool:
        volume, environment = self._volume(info, volumeId), self._environment(info, environmentId)
        for home_id, mount in self._world.mounts_of(volume).items():
            if environment is not None and home_id != environment.id:
                continue
            mount.path = input.get("mountPath") or mount.path
            if "serviceId" in input:
                mount.service_id, mount.attached = input["serviceId"], input["serviceId"] is not None
        return True

    # What they share.

    def _writer(self, info: Info) -> Token:
        token = info.context
        if token.read_only:
            raise refusals.not_authorized()
        return token

    def _touch(self, info: Info, service_id: str) -> None:
        service = self._world.service(service_id)
        self._counts.mutations[service_id][info.field_name] += 1
        self._counts.mutations_by_label["" if service is None else service.label][info.field_name] += 1

    def _throttle(self, what: str, info: Info) -> None:
        if self._faults.strikes(Fault.THROTTLE, info.field_name, what):
            raise refusals.too_quickly(what)

    def _environment(self, info: Info, environment_id: str | None) -> Environment | None:
        return None if environment_id is None else self._access.environment(self._writer(info), environment_id)

    def _service(self, info: Info, service_id: str) -> Service:
        self._touch(info, service_id)
        return self._access.service(self._writer(info), service_id)

    def _instances(self, info: Info, service_id: str, environment_id: str | None) -> list[Instance]:
        self._touch(info, service_id)
        token = self._writer(info)
        if environment_id is not None:
            return [self._access.instance(token, service_id, environment_id)]
        service = self._access.service(token, service_id)
        homes = [each for each in service.project.environments.values() if each.source is None]
        return [self._access.instance(token, service_id, home.id) for home in homes if service_id in home.instances]

    def _deployment(self, info: Info, deployment_id: str) -> Deployment:
        token = self._writer(info)
        for instance in self._world.instances():
            for each in instance.deployments:
                if each.id == deployment_id:
                    self._access.environment(token, instance.environment.id)
                    self._touch(info, instance.service.id)
                    return each
        raise refusals.no_deployment()

    def _volume(self, info: Info, volume_id: str) -> Volume:
        volume = self._access.volume(self._writer(info), volume_id)
        for mount in self._world.mounts_of(volume).values():
            if mount.service_id is not None:
                self._touch(info, mount.service_id)
        return volume


def _first_config(values: Input) -> Config:
    """What a service begins with."""
    config: Config = {}
    source = {name: value for name, value in (values.get("source") or {}).items() if value is not None}
    if source:
        config["source"] = source | ({"branch": values["branch"]} if values.get("branch") else {})
    if values.get("variables"):
        config["variables"] = {name: {"value": str(value)} for name, value in values["variables"].items()}
    if values.get("registryCredentials"):
        config["deploy"] = {"registryCredentials": dict(values["registryCredentials"])}
    return config
