"""What is asked of one environment at Railway, and nothing of what that means: one method per operation."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.backends.railway.budget import Priority
from controller.backends.railway.client import RailwayClient
from controller.backends.railway.failures import AGAIN_SECONDS, Rejected, Unanswered, sort
from controller.backends.railway.patch import Patch
from controller.backends.railway.shapes import (
    AnyShape,
    BuildLogsAnswer,
    Connection,
    DeploymentLogsAnswer,
    Environment,
    EnvironmentConfigAnswer,
    EnvironmentPage,
    LogLine,
    Node,
    ServiceAnswer,
    ServiceConfig,
    ServiceCreated,
    ServiceDomainCreated,
    ServiceInstance,
    VolumeCreated,
    VolumeInstance,
    read,
)
from controller.errors import Barred, Missing

PAGE = 500
"""How many services one request brings, as Railway's own command line asks."""
LONGEST_LOG = 5000
"""The most lines that Railway gives at once."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that an environment has, whosever it is."""

    services: tuple[ServiceInstance, ...]
    volumes: tuple[VolumeInstance, ...]


class EnvironmentApi:
    """One environment of one project. Reads are repeated where that helps; a mutation is sent once and never again.

    A mutation raises what the client raises: after ``Unanswered`` and ``Rejected`` it may have been carried out.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[RailwayClient]],
        project_id: str,
        environment_id: str,
        commits: asyncio.Lock,
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._environment_id = environment_id
        # What becomes of two commits at once, nobody knows.
        self._commits = commits

    async def read(self) -> Reading:
        """All pages, or nothing: a partial reading would make services vanish."""
        services: list[ServiceInstance] = []
        volumes: list[VolumeInstance] = []
        # The first request asks for a page of both; where one goes on, only that is asked for again.
        after_service: str | None = ""
        after_volume: str | None = ""
        while after_service is not None or after_volume is not None:
            page = await self._page(after_service, after_volume)
            if after_service is not None:
                services_page = _asked_for(page.service_instances)
                services.extend(services_page.nodes)
                after_service = services_page.next
            if after_volume is not None:
                volumes_page = _asked_for(page.volume_instances)
                volumes.extend(volumes_page.nodes)
                after_volume = volumes_page.next
        return Reading(
            tuple(each for each in services if each.deleted_at is None),
            tuple(each for each in volumes if each.deleted_at is None and not each.is_pending_deletion),
        )

    async def _page(self, after_service: str | None, after_volume: str | None) -> Environment:
        variables = {
            "id": self._environment_id,
            "projectId": self._project_id,
            "first": PAGE,
            "after": after_service or None,
            "volumesAfter": after_volume or None,
            "withServices": after_service is not None,
            "withVolumes": after_volume is not None,
        }
        page = (await self._query("Environment", variables, EnvironmentPage, "read the environment")).environment
        if page.project_id != self._project_id or page.deleted_at is not None:
            raise Barred(
                "EnvironmentNotFound",
                f"project {self._project_id} has no environment {self._environment_id} at Railway: correct "
                "backend.railway.projectId or environmentId",
                AGAIN_SECONDS,
            )
        return page

    async def config(self) -> Mapping[str, ServiceConfig]:
        """The configuration of every service of the environment, variables included, by the id of the service."""
        variables = {"id": self._environment_id, "projectId": self._project_id}
        answer = await self._query("EnvironmentConfig", variables, EnvironmentConfigAnswer, "read the configuration")
        return {key: each for key, each in answer.environment.config.services.items() if each is not None}

    async def exists(self, service_id: str) -> bool:
        """Whether the service exists in its project, whatever the lists say."""
        try:
            answer = await self._query("Service", {"id": service_id}, ServiceAnswer, "look for a service")
        except Missing:
            return False
        return answer.service.deleted_at is None

    async def create_service(self, name: str, variables: Mapping[str, str]) -> str:
        """Make a service that has no source yet, so that nothing is deployed. Answers its id."""
        wish = {
            "projectId": self._project_id,
            "environmentId": self._environment_id,
            "name": name,
            "variables": dict(variables),
        }
        answer = await self._mutate("ServiceCreate", {"input": wish}, Priority.CREATE)
        return read(ServiceCreated, answer).service_create.id

    async def create_volume(self, service_id: str, mount_path: str, region: str | None) -> None:
        """Make a volume and attach it to a service."""
        wish = {
            "projectId": self._project_id,
            "environmentId": self._environment_id,
            "serviceId": service_id,
            "mountPath": mount_path,
        } | ({"region": region} if region is not None else {})
        answer = await self._mutate("VolumeCreate", {"input": wish}, Priority.CREATE)
        read(VolumeCreated, answer)

    async def create_domain(self, service_id: str, port: int) -> str:
        """Give a service a domain. Answers its name."""
        wish = {"environmentId": self._environment_id, "serviceId": service_id, "targetPort": port}
        answer = await self._mutate("ServiceDomainCreate", {"input": wish}, Priority.CREATE)
        return read(ServiceDomainCreated, answer).service_domain_create.domain

    async def commit(self, patch: Patch, message: str) -> None:
        """Change the environment in one step; one commit at a time, whoever of this operator commits."""
        async with self._commits:
            variables = {"environmentId": self._environment_id, "patch": patch, "commitMessage": message}
            await self._mutate("EnvironmentPatchCommit", variables, Priority.CREATE)

    async def rename_service(self, service_id: str, name: str) -> None:
        """Change its name, and with it its private DNS name."""
        await self._mutate("ServiceUpdate", {"id": service_id, "input": {"name": name}}, Priority.CLAIM)

    async def delete_service(self, service_id: str) -> None:
        """End it; its volumes stay."""
        variables = {"id": service_id, "environmentId": self._environment_id}
        await self._mutate("ServiceDelete", variables, Priority.CLAIM)

    async def rename_volume(self, volume_id: str, name: str) -> None:
        """Change its name."""
        await self._mutate("VolumeUpdate", {"volumeId": volume_id, "input": {"name": name}}, Priority.CLAIM)

    async def delete_volume(self, volume_id: str) -> None:
        """Delete it with all that is on it."""
        await self._mutate("VolumeDelete", {"volumeId": volume_id}, Priority.CLAIM)

    async def logs(self, deployment_id: str, lines: int, since: str | None = None) -> tuple[LogLine, ...]:
        """The newest lines of a deployment, oldest first; from a timestamp of Railway's on, if one is given."""
        variables: dict[str, Any] = {"deploymentId": deployment_id, "limit": min(lines, LONGEST_LOG)}
        if since is not None:
            variables["startDate"] = since
        return (await self._query("DeploymentLogs", variables, DeploymentLogsAnswer, "read the logs")).deployment_logs

    async def build_logs(self, deployment_id: str) -> tuple[LogLine, ...]:
        """What its build wrote: for one that failed before anything ran."""
        variables = {"deploymentId": deployment_id, "limit": LONGEST_LOG}
        return (await self._query("BuildLogs", variables, BuildLogsAnswer, "read the logs of the build")).build_logs

    async def _query(self, name: str, variables: Mapping[str, Any], shape: type[AnyShape], doing: str) -> AnyShape:
        client = await self._client()
        try:
            return read(shape, await client.query(name, variables))
        except Rejected as error:
            raise sort(error, doing) from None

    async def _mutate(self, name: str, variables: Mapping[str, Any], priority: Priority) -> dict[str, Any]:
        client = await self._client()
        return await client.mutate(name, variables, priority)


def _asked_for(page: Connection[Node] | None) -> Connection[Node]:
    """A page that was asked for. GraphQL says null for what it could not resolve, and not always with an error."""
    if page is None:
        raise Unanswered("Railway's answer lacks a list that was asked for")
    return page
