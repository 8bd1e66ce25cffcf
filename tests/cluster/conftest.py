"""One suite over every API server: our own, and a genuine one when AGENTPOOL_TEST_KUBECONFIG names its kubeconfig."""

import asyncio
import base64
import json
import os
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import pytest
import yaml

from tests.genuine import GENUINE, SERVERS

HERE = Path(__file__).parent
DEADLINE = 30.0
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"

Object = dict[str, Any]
T = TypeVar("T")


@dataclass
class Server:
    """How to reach one API server."""

    name: str
    kubeconfig: Path
    url: str
    token: str
    tls: ssl.SSLContext

    @classmethod
    def of(cls, name: str, kubeconfig: Path) -> Self:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        return cls(name, kubeconfig, cluster["server"], user["token"], ssl.create_default_context(cadata=authority))

    def client(self, **more: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "suite/1.0"}
        return httpx.AsyncClient(
            base_url=self.url, verify=self.tls, headers=headers, timeout=DEADLINE, trust_env=False, **more
        )


class Process:
    """A standalone server in a process of its own."""

    def __init__(self, folder: Path, *definitions: Path) -> None:
        self.folder = folder
        self._command = [sys.executable, str(HERE / "serve.py"), str(folder), *map(str, definitions)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Server:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE.parent.parent
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            _, errors = self._process.communicate()
            raise RuntimeError(errors.strip())
        return Server.of("standalone", self.folder / "kubeconfig")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def stop(self) -> str:
        """Ends the server and returns what it wrote to stderr."""
        assert self._process is not None
        self._process.terminate()
        return self._process.communicate(timeout=DEADLINE)[1]


def widget_definition(group: str) -> Object:
    definition: Object = yaml.safe_load((HERE / "widget.yaml").read_text())
    definition["metadata"]["name"] = f"widgets.{group}"
    definition["spec"]["group"] = group
    return definition


async def eventually(check: Callable[[], Awaitable[T]]) -> T:
    """The first truthy outcome of `check`; fails after a generous deadline."""
    end = time.monotonic() + DEADLINE
    while not (outcome := await check()):
        assert time.monotonic() < end, "the condition was not met in time"
        await asyncio.sleep(0.02)
    return outcome


@dataclass
class Cluster:
    """A namespace of its own on one server, and the words to talk to it."""

    server: Server
    http: httpx.AsyncClient
    group: str
    namespace: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1alpha1"

    @property
    def everywhere(self) -> str:
        return f"/apis/{self.api_version}/widgets"

    @property
    def widgets(self) -> str:
        return f"/apis/{self.api_version}/namespaces/{self.namespace}/widgets"

    def core(self, plural: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{plural}"

    def needs_standalone(self, why: str) -> None:
        if self.server.name != "standalone":
            pytest.skip(f"standalone only: {why}")

    def widget(self, name: str, spec: Any = None, **metadata: Any) -> Object:
        spec = {"color": "red"} if spec is None else spec
        meta = {"name": name, **metadata} if name else metadata
        return {"apiVersion": self.api_version, "kind": "Widget", "metadata": meta, "spec": spec}

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **params: str,
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Accept": accept, **({"Content-Type": content_type} if content is not None else {})}
        return await self.http.request(method, path, content=content, headers=headers, params=params or None)

    async def create(self, name: str, spec: Any = None, **metadata: Any) -> Object:
        answer = await self.send("POST", self.widgets, self.widget(name, spec, **metadata))
        assert answer.status_code == 201, answer.text
        created: Object = answer.json()
        return created

    async def get(self, name: str) -> Object:
        answer = await self.send("GET", f"{self.widgets}/{name}")
        assert answer.status_code == 200, answer.text
        found: Object = answer.json()
        return found

    async def exists(self, path: str) -> bool:
        return (await self.send("GET", path)).status_code == 200

    async def patch(self, name: str, patch: Any, *, kind: str = MERGE, **params: str) -> httpx.Response:
        return await self.send("PATCH", f"{self.widgets}/{name}", patch, content_type=kind, **params)

    async def patched(self, name: str, patch: Any, *, kind: str = MERGE, **params: str) -> Object:
        answer = await self.patch(name, patch, kind=kind, **params)
        assert answer.status_code in {200, 201}, answer.text
        obj: Object = answer.json()
        return obj

    async def names(self, **params: str) -> list[str]:
        answer = await self.send("GET", self.widgets, **params)
        assert answer.status_code == 200, answer.text
        return [item["metadata"]["name"] for item in answer.json()["items"]]

    async def version(self) -> str:
        return str((await self.send("GET", self.widgets)).json()["metadata"]["resourceVersion"])

    @asynccontextmanager
    async def watch(self, path: str = "", accept: str = "application/json", **params: str) -> AsyncIterator["Watch"]:
        query = {"watch": "true", "timeoutSeconds": str(int(DEADLINE)), **params}
        headers = {"Accept": accept}
        async with self.http.stream("GET", path or self.widgets, params=query, headers=headers) as response:
            yield Watch(response)


class Watch:
    """The events of a watch, one by one."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> Object:
        async with asyncio.timeout(DEADLINE):
            event: Object = json.loads(await anext(self._lines))
            return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """The next events as (type, name)."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]

    async def rest(self) -> list[Object]:
        """Everything until the server ends the stream."""
        async with asyncio.timeout(DEADLINE):
            return [json.loads(line) async for line in self._lines]


def causes(answer: httpx.Response) -> set[tuple[str, str]]:
    """(field, reason) of every cause of an Invalid answer."""
    return {(cause["field"], cause["reason"]) for cause in answer.json()["details"]["causes"]}


def _settle(http: httpx.Client, path: str) -> None:
    end = time.monotonic() + DEADLINE
    while http.get(path).status_code != 200:
        assert time.monotonic() < end, f"{path} never became ready"
        time.sleep(0.05)


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "genuine":
        yield Server.of("genuine", Path(os.environ[GENUINE]))
        return
    process = Process(tmp_path_factory.mktemp("standalone") / "data")
    yield process.start()
    assert process.stop() == ""


@pytest.fixture(scope="session")
def group(server: Server) -> Iterator[str]:
    """The group of a Widget definition that only this run uses."""
    group = f"g{secrets.token_hex(3)}.test.agentpool.dev"
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(
        base_url=server.url, verify=server.tls, headers=headers, timeout=DEADLINE, trust_env=False
    ) as http:
        answer = http.post(definitions, json=widget_definition(group))
        assert answer.status_code == 201, answer.text
        _settle(http, f"/apis/{group}/v1alpha1/widgets")
        yield group
        http.delete(f"{definitions}/widgets.{group}")


@pytest.fixture
async def cluster(server: Server, group: str) -> AsyncIterator[Cluster]:
    namespace = f"t-{secrets.token_hex(4)}"
    async with server.client() as http:
        cluster = Cluster(server, http, group, namespace)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        answer = await cluster.send("POST", "/api/v1/namespaces", body)
        assert answer.status_code == 201, answer.text
        yield cluster
        await _clean(cluster)


async def _clean(cluster: Cluster) -> None:
    items = (await cluster.send("GET", cluster.widgets)).json().get("items", [])
    for item in items:
        if item["metadata"].get("finalizers"):
            await cluster.patch(item["metadata"]["name"], {"metadata": {"finalizers": None}})
    paths = [cluster.widgets, cluster.core("configmaps"), cluster.core("secrets"), cluster.core("events")]
    for path in paths:
        await cluster.send("DELETE", path)
    await cluster.send("DELETE", f"/api/v1/namespaces/{cluster.namespace}")


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Process]:
    """A standalone server's process, not yet started; ended whatever happens."""
    process = Process(tmp_path / "data", HERE / "widget.yaml")
    yield process
    if process._process is not None and process._process.poll() is None:
        process.kill()
