"""The API server as the benchmark's client sees it: plain HTTP, none of the controller's code."""

import asyncio
import base64
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import yaml

from controller.errors import Misconfigured
from controller.model import GROUP, KINDS, VERSION
from controller.model.crd import custom_resource_definitions

CONNECTIONS = 32
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ESTABLISHING_SECONDS = 60.0


class ApiError(Exception):
    """The API server refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and how it knows us."""

    url: str
    tls: ssl.SSLContext | bool
    headers: Mapping[str, str]

    @classmethod
    def read(cls, kubeconfig: Path) -> "Access":
        """The current context of a kubeconfig with a token or a client certificate."""
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(config, "context", config["current-context"])
        cluster = _named(config, "cluster", context["cluster"])
        user = _named(config, "user", context["user"])
        if "exec" in user or "auth-provider" in user:
            raise Misconfigured(f"{kubeconfig} asks a program for credentials: give one with a token or a certificate")
        tls: ssl.SSLContext | bool = False
        if cluster["server"].startswith("https:"):
            tls = _tls(cluster, user, kubeconfig.parent)
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        return cls(cluster["server"].rstrip("/"), tls, headers)


def _named(config: Mapping[str, Any], what: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(entry[what] for entry in config[f"{what}s"] if entry["name"] == name)
    return found


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> str | None:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode("ascii")
    return (folder / entry[key]).read_text(encoding="ascii") if key in entry else None


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority", folder))
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # ssl reads client certificates from files only
            file.write(certificate + "\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


class ApiServer:
    """Requests on custom resources of one namespace, over CONNECTIONS kept-alive connections and one for the watch."""

    def __init__(self, access: Access, namespace: str) -> None:
        self.namespace = namespace
        self._access = access
        connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=300, ssl=access.tls)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=dict(access.headers), timeout=aiohttp.ClientTimeout(total=60)
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def request(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:
        """The decoded answer; ``ApiError`` for any status from 400 on."""
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        headers = {"Content-Type": content} if data is not None else {}
        url = self._access.url + path
        async with self._session.request(method, url, data=data, headers=headers) as response:
            raw = await response.read()
            if response.status >= 400:
                raise ApiError(response.status, raw[:300].decode("utf-8", "replace"))
            return orjson.loads(raw)

    def path(self, plural: str, name: str = "") -> str:
        """Where the objects of a kind are, or one of them."""
        folder = f"/apis/{GROUP}/{VERSION}/namespaces/{self.namespace}/{plural}"
        return f"{folder}/{name}" if name else folder

    async def version(self) -> str:
        """What the API server says it is."""
        return str((await self.request("GET", "/version"))["gitVersion"])

    async def objects(self, plural: str, *, limit: int = 0) -> list[dict[str, Any]]:
        """All objects of a kind, or the first ``limit``."""
        query = f"?limit={limit}" if limit else ""
        found: list[dict[str, Any]] = (await self.request("GET", self.path(plural) + query))["items"]
        return found

    async def token(self, instance: str) -> str:
        """What opens a claimed instance, once its Secret holds no other token any more."""
        while True:
            path = f"/api/v1/namespaces/{self.namespace}/secrets/{instance}-token"
            content: dict[str, str] = (await self.request("GET", path))["data"]
            if "next-token" not in content:
                return base64.b64decode(content["token"]).decode("ascii")
            await asyncio.sleep(0.05)

    async def delete(self, plural: str, name: str) -> None:
        """Ask for the deletion of an object; nothing if it is gone."""
        try:
            await self.request("DELETE", self.path(plural, name))
        except ApiError as error:
            if error.status != 404:
                raise

    async def warm(self) -> None:
        """Open every connection, so that no handshake falls into a measurement."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self.request("GET", self.path("agentpools") + "?limit=1"))

    async def install(self) -> None:
        """Apply the CustomResourceDefinitions and wait until every kind can be listed; create the namespace."""
        for definition in custom_resource_definitions():
            path = f"{_CRDS}/{definition['metadata']['name']}?fieldManager=agentpool-bench&force=true"
            await self.request("PATCH", path, definition, "application/apply-patch+yaml")
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        await self.request("POST", "/api/v1/namespaces", body)
        async with asyncio.timeout(_ESTABLISHING_SECONDS):
            for kind in KINDS:
                while not await self._listable(kind.plural):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.2)

    async def remove_namespace(self) -> None:
        """Ask for the deletion of the namespace; nothing if it was never made."""
        try:
            await self.request("DELETE", f"/api/v1/namespaces/{self.namespace}")
        except ApiError as error:
            if error.status != 404:
                raise

    async def _listable(self, plural: str) -> bool:
        try:
            await self.objects(plural, limit=1)
        except ApiError as error:
            if error.status in {404, 429}:  # not served yet, or its storage is still initializing
                return False
            raise
        return True

    @asynccontextmanager
    async def watch(self, plural: str) -> AsyncIterator[AsyncIterator[tuple[float, dict[str, Any]]]]:
        """Every change of a kind from now on, each with the time at which it arrived here (perf_counter)."""
        listed = await self.request("GET", self.path(plural) + "?limit=1")
        version = quote(listed["metadata"]["resourceVersion"])
        url = f"{self._access.url}{self.path(plural)}?watch=1&resourceVersion={version}"
        forever = aiohttp.ClientTimeout(total=None, sock_read=None)
        connector = aiohttp.TCPConnector(limit=1, ssl=self._access.tls)
        async with (
            aiohttp.ClientSession(connector=connector, headers=dict(self._access.headers), timeout=forever) as session,
            session.get(url, raise_for_status=True) as response,
        ):
            yield _events(response)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[float, dict[str, Any]]]:
    rest = b""
    async for chunk in response.content.iter_any():
        arrived = time.perf_counter()
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield arrived, orjson.loads(line)
