"""The API servers that schemas are held to: the standalone one, and with AGENTPOOL_TEST_KUBECONFIG a genuine one."""

import asyncio
import os
import shutil
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client, config

from controller.model import API_VERSION, KINDS
from controller.model.crd import custom_resource_definitions
from controller.standalone import StandaloneServer
from tests.genuine import GENUINE, SERVERS

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
KIND_NAMES = {kind.plural: kind.kind_name for kind in KINDS}
DEADLINE_SECONDS = 60.0

Manifest = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session", params=SERVERS)
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """Where the API server under test can be reached."""
    if request.param == "genuine":
        return Path(os.environ[GENUINE])
    path: Path = request.getfixturevalue("standalone_kubeconfig")
    return path


@pytest.fixture(scope="session")
def standalone_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A standalone API server on an event loop of its own, so that plain clients and kubectl can talk to it."""
    server = StandaloneServer(tmp_path_factory.mktemp("standalone"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="standalone")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(DEADLINE_SECONDS)
        yield server.kubeconfig
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(DEADLINE_SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_SECONDS)
        loop.close()


@contextmanager
def connected(kubeconfig: Path, path: str = "") -> Iterator[httpx.Client]:
    """A client of the API server, allowed what the kubeconfig allows, with addresses relative to the path."""
    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    token = configuration.get_api_key_with_prefix("BearerToken")
    headers = {"Authorization": token} if token else {}
    with httpx.Client(
        base_url=configuration.host + path, verify=tls, headers=headers, timeout=30, trust_env=False
    ) as it:
        yield it


@pytest.fixture(scope="session")
def connection(kubeconfig: Path) -> Iterator[httpx.Client]:
    """A client of the API server."""
    with connected(kubeconfig) as it:
        yield it


def eventually(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not look():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE_SECONDS:.0f} s"
        time.sleep(0.1)


def install(connection: httpx.Client, definition: dict[str, Any]) -> httpx.Response:
    """Create the definition or replace the one that is there."""
    path = f"{DEFINITIONS}/{definition['metadata']['name']}"
    present = connection.get(path)
    if present.status_code == 404:
        return connection.post(DEFINITIONS, json=definition, params={"fieldValidation": "Strict"})
    present.raise_for_status()
    metadata = {**definition["metadata"], "resourceVersion": present.json()["metadata"]["resourceVersion"]}
    return connection.put(path, json={**definition, "metadata": metadata}, params={"fieldValidation": "Strict"})


def is_established(connection: httpx.Client, name: str) -> bool:
    # A new definition can show null for a moment.
    conditions = connection.get(f"{DEFINITIONS}/{name}").json().get("status", {}).get("conditions") or []
    return any(it["type"] == "Established" and it["status"] == "True" for it in conditions)


def is_served(connection: httpx.Client, plural: str) -> bool:
    # The first lists after a definition was made can answer 429 or 404.
    return connection.get(f"/apis/{API_VERSION}/{plural}").is_success


@pytest.fixture(scope="session")
def installed(connection: httpx.Client) -> list[httpx.Response]:
    """What the API server answered to each definition; all of them are served."""
    answers = []
    for definition in custom_resource_definitions():
        answer = install(connection, definition)
        while answer.status_code == 409:  # another run installs at the same time
            answer = install(connection, definition)
        answers.append(answer)
        assert answer.is_success, answer.text
        name = definition["metadata"]["name"]
        eventually(partial(is_established, connection, name), f"establishing {name}")
        eventually(partial(is_served, connection, definition["spec"]["names"]["plural"]), f"serving {name}")
    return answers


@pytest.fixture(scope="session")
def namespace(connection: httpx.Client, installed: list[httpx.Response]) -> Iterator[str]:
    """A namespace of this run, emptied afterwards."""
    name = f"schema-{uuid.uuid4().hex[:8]}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    connection.post("/api/v1/namespaces", json=manifest).raise_for_status()
    yield name
    for plural in KIND_NAMES:
        connection.delete(f"/apis/{API_VERSION}/namespaces/{name}/{plural}").raise_for_status()
    connection.delete(f"/api/v1/namespaces/{name}").raise_for_status()


@pytest.fixture(scope="session")
def api(kubeconfig: Path, namespace: str) -> Iterator[httpx.Client]:
    """A client whose addresses are relative to our group in our namespace: ``agentpools/name``."""
    with connected(kubeconfig, f"/apis/{API_VERSION}/namespaces/{namespace}/") as it:
        yield it


@pytest.fixture
def manifest() -> Manifest:
    """Makes an object of a kind, by plural, with a name that no other test uses."""

    def make(plural: str, spec: Any, **top: Any) -> dict[str, Any]:
        metadata = {"name": f"x-{uuid.uuid4().hex[:12]}"}
        return {"apiVersion": API_VERSION, "kind": KIND_NAMES[plural], "metadata": metadata, "spec": spec, **top}

    return make


@pytest.fixture
def kubectl_environment(kubeconfig: Path, installed: list[httpx.Response], tmp_path: Path) -> dict[str, str]:
    """The environment in which kubectl talks to the API server and caches nothing beyond the test."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig)}
