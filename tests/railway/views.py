"""What exists, as the types of the schema."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from tests.railway import refusals
from tests.railway.access import Info
from tests.railway.configuration import VOLUME_MEGABYTES, of_environment
from tests.railway.connections import connection
from tests.railway.records import (
    Config,
    Deployment,
    Domain,
    Environment,
    Instance,
    Line,
    Mount,
    Project,
    Service,
    Token,
    Volume,
)
from tests.railway.settings import Settings
from tests.railway.world import EDGE_SUFFIX, World

View = dict[str, Any]
PAGE_ARGUMENTS = frozenset({"first", "after", "last", "before"})


def moment(at: float | None) -> str | None:
    """A time as the API writes it."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Views:
    """Objects that refer to others give these only when they are asked for them."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings

    def page(self, items: Any, node: Callable[[Any], View], arguments: dict[str, Any]) -> View:
        """A connection."""
        wanted = {name: value for name, value in arguments.items() if name in PAGE_ARGUMENTS}
        return connection(items, node, most=self._settings.page, **wanted)

    def project(self, project: Project) -> View:
        environments, volumes = project.environments.values(), project.volumes.values()
        oldest = next((each for each in environments if each.source is None), None)

        def services() -> list[Service]:
            seen = {each.service.id: each.service for home in environments for each in self._world.listed(home)}
            return list(seen.values())

        return {
            "id": project.id,
            "name": project.name,
            "baseEnvironment": lambda _: None if oldest is None else self.environment(oldest),
            "baseEnvironmentId": None if oldest is None else oldest.id,
            "primaryEnvironmentId": None if oldest is None else oldest.id,
            "botPrEnvironments": False,
            "createdAt": moment(project.created),
            "environments": lambda _, **page: self.page(environments, self.environment, page),
            "featureFlags": [],
            "focusedPrEnvironments": False,
            "isPublic": False,
            "isTempProject": False,
            "prDeploys": False,
            "services": lambda _, **page: self.page(services(), self.service, page),
            "subscriptionPlanLimit": {},
            "subscriptionType": self._settings.plan.lower(),
            "updatedAt": moment(project.created),
            "volumes": lambda _, **page: self.page(volumes, self.volume, page),
            "workspace": {"id": project.workspace_id, "name": project.workspace_name},
            "workspaceId": project.workspace_id,
        }

    def environment(self, environment: Environment) -> View:
        def deployments() -> list[Deployment]:
            return [one for each in self._world.listed(environment) for one in each.deployments]

        def config(*, decrypted: bool) -> Config:
            listed = self._world.listed(environment)
            return of_environment(environment, listed, decrypted=decrypted, masked=self._settings.masked_value)

        return {
            "id": environment.id,
            "name": environment.name,
            "canAccess": True,
            "canvasGroupRefs": [],
            "config": lambda info, **choice: config(decrypted=self._may_decrypt(info, choice)),
            "configEtag": lambda _: sha256(json.dumps(config(decrypted=True)).encode()).hexdigest(),
            "createdAt": moment(environment.created),
            "deployments": lambda _, **page: self.page(deployments(), self.deployment, page),
            "isEphemeral": environment.source is not None,
            "projectId": environment.project.id,
            "serviceInstances": lambda _, **page: self.page(self._world.listed(environment), self.instance, page),
            "sourceEnvironment": lambda _: None if environment.source is None else self.environment(environment.source),
            "unmergedChangesCount": 0,
            "updatedAt": moment(environment.created),
            "volumeInstances": lambda _, **page: self.page(environment.mounts.values(), self.mount, page),
        }

    def service(self, service: Service) -> View:
        homes = service.project.environments.values()

        def instances() -> list[Instance]:
            return [each for home in homes for each in self._world.listed(home) if each.service is service]

        return {
            "id": service.id,
            "name": service.name,
            "createdAt": moment(service.created),
            "deletedAt": moment(service.deleted),
            "featureFlags": [],
            "hasHiddenRegistryCredentialsFromTemplate": False,
            "icon": service.icon,
            "isRestricted": False,
            "project": lambda _: self.project(service.project),
            "projectId": service.project.id,
            "serviceInstances": lambda _, **page: self.page(instances(), self.instance, page),
            "updatedAt": moment(service.updated),
        }

    def instance(self, instance: Instance) -> View:
        config, domains, latest = instance.config, instance.domains, instance.latest(self._world.now())
        source, build, deploy = (config.get(each, {}) for each in ("source", "build", "deploy"))
        regions: Config = deploy.get("multiRegionConfig", {})
        active = [each for each in instance.deployments if each.status in {"SUCCESS", "SLEEPING"} and not each.stopped]
        return {
            "id": instance.id,
            "activeDeployments": lambda _: [self.deployment(each) for each in active],
            "buildCommand": build.get("buildCommand"),
            # The type of the field knows no DOCKERFILE, which a patch may ask for.
            "builder": builder if (builder := build.get("builder", "RAILPACK")) != "DOCKERFILE" else "RAILPACK",
            "createdAt": moment(instance.created),
            "cronSchedule": deploy.get("cronSchedule"),
            "deletedAt": moment(instance.deleted) if self._settings.tombstones else None,
            "dockerfilePath": build.get("dockerfilePath"),
            "domains": lambda _: {"customDomains": [], "serviceDomains": [self.domain(e, instance) for e in domains]},
            "drainingSeconds": deploy.get("drainingSeconds"),
            "environmentId": instance.environment.id,
            "healthcheckPath": deploy.get("healthcheckPath"),
            "healthcheckTimeout": deploy.get("healthcheckTimeout"),
            "ipv6EgressEnabled": deploy.get("ipv6EgressEnabled"),
            "isUpdatable": False,
            "latestDeployment": lambda _: None if latest is None else self.deployment(latest),
            "nixpacksPlan": build.get("nixpacksPlan"),
            "numReplicas": deploy.get("numReplicas", 1),
            "overlapSeconds": deploy.get("overlapSeconds"),
            "preDeployCommand": deploy.get("preDeployCommand"),
            "railwayConfigFile": config.get("configFile"),
            "region": next(iter(regions), None),
            "restartPolicyMaxRetries": deploy.get("restartPolicyMaxRetries", 10),
            "restartPolicyType": deploy.get("restartPolicyType", "ON_FAILURE"),
            "rootDirectory": source.get("rootDirectory"),
            "service": lambda _: self.service(instance.service),
            "serviceId": instance.service.id,
            "serviceName": instance.service.name,
            "sleepApplication": deploy.get("sleepApplication"),
            "source": {"image": source.get("image"), "repo": source.get("repo")} if source else None,
            "startCommand": deploy.get("startCommand"),
            "updatedAt": moment(instance.updated),
            "upstreamUrl": source.get("upstreamUrl"),
            "watchPatterns": build.get("watchPatterns", []),
        }

    def deployment(self, deployment: Deployment) -> View:
        instance, source = deployment.instance, deployment.config.get("source", {})
        machine = {"id": deployment.machine_id or deployment.id, "status": deployment.machine}
        domain = instance.domains[0].domain if instance.domains else None
        return {
            "id": deployment.id,
            "canRedeploy": deployment.shown not in {"INITIALIZING", "QUEUED", "BUILDING", "DEPLOYING"},
            "canRollback": False,
            "createdAt": moment(deployment.created),
            "deploymentStopped": deployment.stopped,
            "environment": lambda _: self.environment(instance.environment),
            "environmentId": instance.environment.id,
            "instances": [machine] if deployment.machine_id else [],
            "meta": {
                "reason": "deploy",
                "image": source.get("image"),
                "repo": source.get("repo"),
                "branch": source.get("branch"),
            },
            "projectId": instance.environment.project.id,
            "service": lambda _: self.service(instance.service),
            "serviceId": instance.service.id,
            "snapshotId": deployment.id,
            "staticUrl": domain,
            "status": deployment.shown,
            "statusUpdatedAt": moment(deployment.updated),
            "suggestAddServiceDomain": domain is None,
            "updatedAt": moment(deployment.updated),
            "url": domain,
        }

    def domain(self, domain: Domain, instance: Instance) -> View:
        return {
            "id": domain.id,
            "createdAt": moment(domain.created),
            "domain": domain.domain,
            "environmentId": instance.environment.id,
            "projectId": instance.environment.project.id,
            "serviceId": instance.service.id,
            "suffix": EDGE_SUFFIX.removeprefix("."),
            "syncStatus": "ACTIVE",
            "targetPort": domain.target_port,
            "updatedAt": moment(domain.created),
        }

    def volume(self, volume: Volume) -> View:
        mounts = self._world.mounts_of(volume).values()
        return {
            "id": volume.id,
            "name": volume.name,
            "createdAt": moment(volume.created),
            "project": lambda _: self.project(volume.project),
            "projectId": volume.project.id,
            "volumeInstances": lambda _, **page: self.page(mounts, self.mount, page),
        }

    def mount(self, mount: Mount) -> View:
        def service(_: Info) -> View:
            found = None if mount.service_id is None else self._world.service(mount.service_id)
            if found is None:
                raise refusals.refusal("Service not found")
            return self.service(found)

        return {
            "id": mount.id,
            "createdAt": moment(mount.created),
            "currentSizeMB": 0.0,
            "environment": lambda _: self.environment(mount.environment),
            "environmentId": mount.environment.id,
            "isPendingDeletion": mount.pending_deletion,
            "mountPath": mount.path,
            "region": mount.region,
            "service": service,
            "serviceId": mount.service_id,
            "sizeMB": VOLUME_MEGABYTES,
            "state": "DELETING" if mount.pending_deletion else "READY",
            "volume": lambda _: self.volume(mount.volume),
            "volumeId": mount.volume.id,
        }

    def token(self, token: Token) -> View:
        """A project token."""
        project, environment = token.project, token.environment
        assert project is not None
        assert environment is not None
        return {
            "id": token.id,
            "name": f"{environment.name} token",
            "createdAt": moment(project.created),
            "displayToken": f"{token.value[:4]}****",
            "environment": lambda _: self.environment(environment),
            "environmentId": environment.id,
            "project": lambda _: self.project(project),
            "projectId": project.id,
        }

    def line(self, line: Line, deployment: Deployment) -> View:
        instance = deployment.instance
        return {
            "attributes": [{"key": "level", "value": "error" if line.error else "info"}],
            "message": line.text,
            "severity": "error" if line.error else "info",
            "tags": {
                "deploymentId": deployment.id,
                "deploymentInstanceId": deployment.machine_id or None,
                "environmentId": instance.environment.id,
                "projectId": instance.environment.project.id,
                "serviceId": instance.service.id,
            },
            "timestamp": moment(line.at),
        }

    def _may_decrypt(self, info: Info, choice: dict[str, Any]) -> bool:
        return bool(choice.get("decryptVariables")) and not info.context.read_only
