"""The client of the API server: the Cluster port over plain HTTP.

The generated client of the ``kubernetes`` package loads the configuration; requests are our own, since its models cost
several times the CPU of the request itself, and a claim is a handful of small writes.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import aiohttp
import orjson
from pydantic import ValidationError

from controller import metrics
from controller.errors import Refused, Transient
from controller.kube.answers import date_in, error_for, no_answer, object_in, page_in, page_version, secret_in, text_in
from controller.kube.connection import Connection
from controller.kube.events import event_manifest
from controller.kube.permissions import require
from controller.model import GROUP, VERSION, AgentInstance, Resource
from controller.ports import Announcement, AnyResource, StoredSecret

log = logging.getLogger(__name__)

REQUEST_SECONDS = 15.0
"""An API server that takes longer is treated as away; the request is repeated by a later pass."""
PAGE = 500
_MANAGER = "fieldManager=agentpool"


class KubeCluster:
    """Implements ``controller.ports.Cluster``; use it as an async context manager."""

    def __init__(self, connection: Connection, namespaces: Sequence[str] = ()) -> None:
        self._connection = connection
        self._namespaces = tuple(namespaces)
        self._session: aiohttp.ClientSession | None = None
        self._date: str | None = None

    async def __aenter__(self) -> "KubeCluster":
        connector = aiohttp.TCPConnector(limit=40, ssl=self._connection.tls or True, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def list(self, kind: type[AnyResource]) -> Sequence[AnyResource]:
        """All objects of a kind, page by page, but pools and claims that do not fit our schema."""
        found: list[AnyResource] = []
        for namespace in self._namespaces or ("",):
            token = ""
            while True:
                path = f"{_path(kind, namespace)}?limit={PAGE}{token}"
                page = await self._send("list", kind.plural, "GET", path)
                items, following = page_in(page)
                found += [thing for item in items if (thing := _listed(kind, item)) is not None]
                if not following:
                    break
                token = f"&continue={following}"
        return found

    async def version(self, kind: type[Resource]) -> int | None:
        """How far the history of a kind has gone: its resourceVersion now, or ``None`` if that is no number."""
        namespace = self._namespaces[0] if self._namespaces else ""
        return page_version(await self._send("list", kind.plural, "GET", f"{_path(kind, namespace)}?limit=1"))

    async def read(self, kind: type[AnyResource], namespace: str, name: str) -> AnyResource:
        """One object as it is now."""
        return _parsed(kind, await self._send("get", kind.plural, "GET", _path(kind, namespace, name)))

    async def create(self, kind: type[AnyResource], namespace: str, body: Mapping[str, Any]) -> AnyResource:
        """Create an object."""
        path = f"{_path(kind, namespace)}?{_MANAGER}"
        return _parsed(kind, await self._send("create", kind.plural, "POST", path, body))

    async def patch(
        self,
        kind: type[AnyResource],
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: Literal["", "status"] = "",
    ) -> AnyResource:
        """Apply a JSON merge patch."""
        path = f"{_path(kind, namespace, name, subresource)}?{_MANAGER}"
        return _parsed(kind, await self._send("patch", kind.plural, "PATCH", path, body, subresource=subresource))

    async def delete(
        self, kind: type[AnyResource], namespace: str, name: str, *, uid: str, version: int | None = None
    ) -> AnyResource | None:
        """Delete exactly that object."""
        preconditions = {"uid": uid} | ({"resourceVersion": str(version)} if version is not None else {})
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        answer = await self._send("delete", kind.plural, "DELETE", _path(kind, namespace, name), body)
        if answer.get("kind") != kind.kind_name:
            if answer.get("status") != "Success":
                raise Transient("the API server answered a deletion with neither the object nor a success")
            return None
        thing = _parsed(kind, answer)
        return thing if thing.metadata.deleting and thing.metadata.finalizers else None

    async def read_secret(self, namespace: str, name: str) -> StoredSecret:
        """A Secret as it is now."""
        return secret_in(await self._send("get", "secrets", "GET", _core_path("secrets", namespace, name)))

    async def create_secret(self, namespace: str, body: Mapping[str, Any]) -> StoredSecret:
        """Create a Secret; ``Conflict`` when it exists."""
        path = f"{_core_path('secrets', namespace)}?{_MANAGER}"
        return secret_in(await self._send("create", "secrets", "POST", path, body))

    async def patch_secret(self, namespace: str, name: str, body: Mapping[str, Any]) -> StoredSecret:
        """Apply a JSON merge patch."""
        path = f"{_core_path('secrets', namespace, name)}?{_MANAGER}"
        return secret_in(await self._send("patch", "secrets", "PATCH", path, body))

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        """The content of a ConfigMap."""
        return text_in(await self._send("get", "configmaps", "GET", _core_path("configmaps", namespace, name)))

    async def create_config_map(self, namespace: str, name: str, content: Mapping[str, str]) -> None:
        """Create a ConfigMap; ``Conflict`` when it exists."""
        metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "agentpool"}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content}
        await self._send("create", "configmaps", "POST", f"{_core_path('configmaps', namespace)}?{_MANAGER}", body)

    async def read_lease(self, namespace: str, name: str) -> Mapping[str, Any]:
        """A Lease as it is now."""
        return await self._send("get", "leases", "GET", _lease_path(namespace, name))

    async def create_lease(self, namespace: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create a Lease; ``Conflict`` when it exists."""
        return await self._send("create", "leases", "POST", f"{_lease_path(namespace)}?{_MANAGER}", body)

    async def replace_lease(self, namespace: str, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace a Lease, if it is still the version that ``body`` names; else ``Conflict`` or ``Missing``."""
        return await self._send("update", "leases", "PUT", f"{_lease_path(namespace, name)}?{_MANAGER}", body)

    async def announce(self, announcement: Announcement) -> None:
        """Publish an Event."""
        namespace = announcement.about.metadata.namespace
        path = f"/api/v1/namespaces/{namespace}/events?{_MANAGER}"
        await self._send("create", "events", "POST", path, event_manifest(announcement))

    @property
    def date(self) -> datetime | None:
        """What the API server's clock said in its last answer, to the second."""
        return date_in(self._date)

    async def _send(
        self,
        verb: str,
        resource: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        subresource: str = "",
    ) -> dict[str, Any]:
        if self._session is None:
            raise RuntimeError("use the client as a context manager")
        require(verb, resource, subresource)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        authorization = await self._connection.authorization()
        if authorization is not None:
            headers["Authorization"] = authorization
        data, code = orjson.dumps(body) if body is not None else None, "error"
        try:
            async with self._session.request(
                method, self._connection.server + path, data=data, headers=headers
            ) as response:
                content = await response.read()
                code = str(response.status)
                self._date = response.headers.get("Date")
                if response.status >= 400:
                    raise error_for(response.status, content, response.headers.get("Retry-After"))
                return object_in(self._connection.server, content)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise no_answer(self._connection.server, error) from None
        finally:
            metrics.api_request(verb, resource, subresource, code).inc()


def parse(kind: type[AnyResource], raw: object) -> AnyResource | None:
    """An object of that kind, or ``None`` where the API server has one that our schema would not let in."""
    try:
        return kind.parse(raw)
    except ValidationError:
        return None


def _parsed(kind: type[AnyResource], raw: object) -> AnyResource:
    thing = parse(kind, raw)
    if thing is None:
        raise Refused("UnexpectedObject", misfit(kind, raw))
    return thing


def _listed(kind: type[AnyResource], raw: object) -> AnyResource | None:
    """An element of a list; ``None`` for what is left alone.

    People write pools and claims: one of them must not keep all others waiting. Instances are made by operators only:
    one that cannot be read is a newer one's, and whoever did without it would end its remote as an orphan.
    """
    if kind is AgentInstance:
        return _parsed(kind, raw)
    thing = parse(kind, raw)
    if thing is None:
        log.error("%s", misfit(kind, raw))
    return thing


def misfit(kind: type[Resource], raw: object) -> str:
    """What to say of an object that ``parse`` does not let in."""
    meta = raw.get("metadata") if isinstance(raw, dict) else None
    where = f" {meta.get('namespace')}/{meta.get('name')}" if isinstance(meta, dict) else ""
    return (
        f"{kind.kind_name}{where} does not fit the schema of this operator and is left alone: run the version that the "
        "CRDs are of, or correct it"
    )


def _path(kind: type[Resource], namespace: str, name: str = "", subresource: str = "") -> str:
    parts = [f"/apis/{GROUP}/{VERSION}"]
    if namespace:
        parts.append(f"namespaces/{namespace}")
    parts.append(kind.plural)
    parts += [part for part in (name, subresource) if part]
    return "/".join(parts)


def _core_path(plural: str, namespace: str, name: str = "") -> str:
    path = f"/api/v1/namespaces/{namespace}/{plural}"
    return f"{path}/{name}" if name else path


def _lease_path(namespace: str, name: str = "") -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return f"{path}/{name}" if name else path
