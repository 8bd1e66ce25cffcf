"""A plain client of the twin, for the tests of the twin itself."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from tests.railway.twin import Twin

PATIENCE = 30.0
STUB = "ghcr.io/agents/stub:1"
Json = dict[str, Any]

CREATE = "mutation ServiceCreate($input: ServiceCreateInput!) { serviceCreate(input: $input) { id name } }"
DELETE = """
mutation ServiceDelete($id: String!, $environmentId: String) { serviceDelete(id: $id, environmentId: $environmentId) }
"""
RENAME = """
mutation ServiceUpdate($id: String!, $input: ServiceUpdateInput!) { serviceUpdate(id: $id, input: $input) { name } }
"""
DOMAIN = """
mutation ServiceDomainCreate($input: ServiceDomainCreateInput!) {
  serviceDomainCreate(input: $input) { id domain targetPort }
}
"""
COMMIT = """
mutation EnvironmentPatchCommit($environmentId: String!, $patch: EnvironmentConfig) {
  environmentPatchCommit(environmentId: $environmentId, patch: $patch)
}
"""
UPSERT = """
mutation VariableCollectionUpsert($input: VariableCollectionUpsertInput!) { variableCollectionUpsert(input: $input) }
"""
UPDATE = """
mutation ServiceInstanceUpdate($serviceId: String!, $environmentId: String, $input: ServiceInstanceUpdateInput!) {
  serviceInstanceUpdate(serviceId: $serviceId, environmentId: $environmentId, input: $input)
}
"""
VOLUME = "mutation VolumeCreate($input: VolumeCreateInput!) { volumeCreate(input: $input) { id name } }"
VOLUME_DELETE = "mutation VolumeDelete($volumeId: String!) { volumeDelete(volumeId: $volumeId) }"
READ = """
query Environment($id: String!, $projectId: String, $first: Int, $after: String) {
  environment(id: $id, projectId: $projectId) {
    serviceInstances(first: $first, after: $after) {
      edges {
        cursor
        node {
          serviceId serviceName createdAt deletedAt
          source { image repo }
          domains { serviceDomains { domain targetPort } }
          latestDeployment { id status statusUpdatedAt deploymentStopped instances { id status } }
        }
      }
      pageInfo { hasNextPage endCursor }
    }
    volumeInstances { edges { node { serviceId mountPath isPendingDeletion volume { id name } } } }
  }
}
"""
CONFIG = "query Config($id: String!, $decrypt: Boolean) { environment(id: $id) { config(decryptVariables: $decrypt) } }"
LOGS = "query Logs($id: String!) { deploymentLogs(deploymentId: $id) { message timestamp } }"


class Failed(Exception):
    """The answer holds errors."""

    def __init__(self, status: int, answer: Json) -> None:
        super().__init__(answer["errors"][0]["message"])
        self.status = status
        self.answer = answer


class Client:
    """Asks with the account's token unless another one is given."""

    def __init__(self, twin: Twin, http: httpx.AsyncClient, environment: str = "dev") -> None:
        self.twin = twin
        self.environment_id = twin.environments[environment].id
        self._http = http

    async def post(
        self, query: str, headers: Mapping[str, str] | None = None, source: str = "?source=tests", **variables: Any
    ) -> httpx.Response:
        """One request, whatever becomes of it."""
        body = {"query": query, "variables": variables}
        headers = {"Authorization": f"Bearer {self.twin.token}"} if headers is None else headers
        return await self._http.post(self.twin.url + source, json=body, headers=dict(headers))

    async def ask(self, query: str, headers: Mapping[str, str] | None = None, **variables: Any) -> Any:
        """The data of one request; if there is one field in it, what that holds."""
        answer = await self.post(query, headers, **variables)
        content = answer.json()
        if "errors" in content:
            raise Failed(answer.status_code, content)
        data = content["data"]
        return data[next(iter(data))] if len(data) == 1 else data

    async def create(self, name: str, **values: Any) -> str:
        """A new service of the environment; its id."""
        where = {"projectId": self.twin.project_id, "environmentId": self.environment_id}
        created = await self.ask(CREATE, input={"name": name, **where, **values})
        return str(created["id"])

    async def commit(self, service_id: str, **part: Any) -> None:
        """Patch one service."""
        await self.ask(COMMIT, environmentId=self.environment_id, patch={"services": {service_id: part}})

    async def add_domain(self, service_id: str, port: int = 8080) -> str:
        """The URL of a new domain of a service."""
        where = {"environmentId": self.environment_id, "serviceId": service_id, "targetPort": port}
        return self.twin.edge_url.format(domain=(await self.ask(DOMAIN, input=where))["domain"])

    async def add_volume(self, service_id: str | None, path: str = "/data") -> str:
        """The id of a new volume of a service."""
        where = {"projectId": self.twin.project_id, "environmentId": self.environment_id}
        attached = {} if service_id is None else {"serviceId": service_id}
        return str((await self.ask(VOLUME, input={**where, **attached, "mountPath": path}))["id"])

    async def launch(self, name: str = "agent", **variables: str) -> tuple[str, str]:
        """A service with a domain and a stub that runs; its id and URL."""
        service_id = await self.create(name)
        url = await self.add_domain(service_id)
        await self.commit(service_id, source={"image": STUB}, variables=variables_of(**variables))
        return service_id, url

    async def node(self, service_id: str) -> Json | None:
        """A service as the environment lists it."""
        return next((each for each in await self.nodes() if each["serviceId"] == service_id), None)

    async def nodes(self) -> list[Json]:
        """All services that the environment lists."""
        read = await self.ask(READ, id=self.environment_id)
        return [edge["node"] for edge in read["serviceInstances"]["edges"]]

    async def volumes(self) -> list[Json]:
        read = await self.ask(READ, id=self.environment_id)
        return [edge["node"] for edge in read["volumeInstances"]["edges"]]

    async def config(self, service_id: str, *, decrypt: bool = True) -> Json:
        """The configuration of a service."""
        read = await self.ask(CONFIG, id=self.environment_id, decrypt=decrypt)
        found: Json = read["config"]["services"][service_id]
        return found

    async def until(self, service_id: str, *statuses: str) -> Json:
        """The latest deployment once it has one of the statuses."""
        async with asyncio.timeout(PATIENCE):
            while True:
                node = await self.node(service_id)
                latest: Json | None = None if node is None else node["latestDeployment"]
                if latest is not None and latest["status"] in statuses:
                    return latest
                await asyncio.sleep(0.02)

    async def environ(self, url: str) -> dict[str, str]:
        """What a stub says of its environment, once it listens."""
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = await self._http.get(url)
                if answer.status_code == 200:
                    seen: dict[str, str] = json.loads(answer.content)
                    return seen
                await asyncio.sleep(0.02)


def variables_of(**values: str) -> Json:
    """As a patch has them."""
    return {name: {"value": value} for name, value in values.items()}


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for a condition, generously."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)
