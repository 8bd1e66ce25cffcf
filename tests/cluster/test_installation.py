"""The ConfigMap that says whose everything is: made once, and never anew while something was launched."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.errors import Misconfigured, Unserved
from controller.kube.client import KubeCluster
from controller.kube.connection import connect
from controller.kube.installation import Installation, installation, recognises
from controller.model import INSTALLATION, AgentInstance
from tests.cluster.conftest import Cluster, Process, eventually

CRDS = sorted((Path(__file__).parents[2] / "crds").glob("*.yaml"))
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[KubeCluster]:
    """The client, on a server that knows our kinds."""
    for path in CRDS:
        answer = await cluster.send("POST", DEFINITIONS, yaml.safe_load(path.read_text()))
        assert answer.status_code in {201, 409}, answer.text
    async with KubeCluster(await connect(cluster.server.kubeconfig, None), (cluster.namespace,)) as client:

        async def served() -> bool:
            return await cluster.exists(f"/apis/agentpool.dev/v1alpha1/namespaces/{cluster.namespace}/agentinstances")

        await eventually(served)
        yield client
    if cluster.server.name == "standalone":
        # Other suites there have owners of these kinds, and no wish for a garbage collector that knows them.
        for path in CRDS:
            name = yaml.safe_load(path.read_text())["metadata"]["name"]
            await cluster.send("DELETE", f"{DEFINITIONS}/{name}")


async def launched(kube: KubeCluster, cluster: Cluster) -> None:
    """An instance that some operator has launched."""
    spec = {"pool": "agents", "poolUid": "p", "templateHash": "h", "backend": {"process": {}}}
    body = {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentInstance", "metadata": {"name": "one"}, "spec": spec}
    await kube.create(AgentInstance, cluster.namespace, body)
    status = {"status": {"phase": "Idle", "launchedAt": "2026-03-01T12:00:00Z"}}
    await kube.patch(AgentInstance, cluster.namespace, "one", status, subresource="status")


async def test_an_installation_is_founded_once_and_holds_no_secret(kube: KubeCluster, cluster: Cluster) -> None:
    first = await installation(kube, cluster.namespace)
    assert first.former_key is None
    assert await installation(kube, cluster.namespace) == first
    raw = (await cluster.send("GET", f"{cluster.core('configmaps')}/{INSTALLATION}")).json()
    assert raw["data"] == {"id": first.id}
    assert not await cluster.exists(f"{cluster.core('secrets')}/{INSTALLATION}")


async def test_the_id_of_an_earlier_version_is_taken_over_and_its_key_read_while_it_is_there(
    kube: KubeCluster, cluster: Cluster
) -> None:
    secret: dict[str, Any] = {"metadata": {"name": INSTALLATION}, "stringData": {"id": "0123456789ab", "key": "a2V5"}}
    await cluster.send("POST", cluster.core("secrets"), {"apiVersion": "v1", "kind": "Secret", **secret})
    for _ in range(2):
        assert await installation(kube, cluster.namespace) == Installation("0123456789ab", b"key")
    await cluster.send("DELETE", f"{cluster.core('secrets')}/{INSTALLATION}")
    assert await installation(kube, cluster.namespace) == Installation("0123456789ab")


async def test_no_installation_is_founded_beside_instances_of_one_whose_id_is_lost(
    kube: KubeCluster, cluster: Cluster
) -> None:
    first = await installation(kube, cluster.namespace)
    await launched(kube, cluster)
    assert await installation(kube, cluster.namespace) == first
    path = f"{cluster.core('configmaps')}/{INSTALLATION}"
    await cluster.send("DELETE", path)
    with pytest.raises(Misconfigured, match=r"1 in all, such as .*/one: restore it"):
        await installation(kube, cluster.namespace)
    assert not await cluster.exists(path)


async def test_a_server_that_does_not_know_our_kinds_does_not_tell_that_nothing_was_launched(
    standalone: Process,
) -> None:
    async with KubeCluster(await connect(standalone.start().kubeconfig, None), ("default",)) as client:
        with pytest.raises(Unserved):
            await installation(client, "default")


async def test_an_installation_is_recognised_where_its_id_is(kube: KubeCluster, cluster: Cluster) -> None:
    first = await installation(kube, cluster.namespace)
    assert await recognises(kube, cluster.namespace, first)
    assert not await recognises(kube, cluster.namespace, Installation("another"))
    await cluster.send("DELETE", f"{cluster.core('configmaps')}/{INSTALLATION}")
    assert not await recognises(kube, cluster.namespace, first)
