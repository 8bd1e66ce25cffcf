"""The Secrets of instances as the operator's client makes, changes and reads them; on real servers, and the double."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from controller.errors import Conflict, Missing, Refused
from controller.kube.client import KubeCluster
from controller.kube.connection import connect
from controller.model import AgentInstance
from controller.ports import Cluster as ClusterPort
from controller.ports import StoredSecret
from controller.reconcile.documents import token_secret, token_secret_patch
from tests.cluster.conftest import Cluster, eventually
from tests.doubles.cluster import ApiServer, MemoryCluster
from tests.doubles.wire import Direct

NAME = "agents-x2c4bd-token"


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[KubeCluster]:
    async with KubeCluster(await connect(cluster.server.kubeconfig, None), (cluster.namespace,)) as client:
        yield client


@pytest.fixture(params=["over HTTP", "in memory"])
def port(request: pytest.FixtureRequest, kube: KubeCluster) -> ClusterPort:
    memory = MemoryCluster(ApiServer(lambda: datetime.now(UTC)), Direct())
    return kube if request.param == "over HTTP" else memory


def instance(namespace: str, uid: str = "uid-1") -> AgentInstance:
    meta = {"name": "agents-x2c4bd", "namespace": namespace, "uid": uid, "resourceVersion": "1"}
    spec = {"pool": "agents", "poolUid": "p", "templateHash": "h", "backend": {"process": {}}}
    return AgentInstance.parse({"metadata": meta, "spec": spec})


async def made(port: ClusterPort, namespace: str, **content: str) -> StoredSecret:
    return await port.create_secret(namespace, token_secret(instance(namespace), content))


async def test_what_is_made_is_read_with_its_owner(port: ClusterPort, cluster: Cluster) -> None:
    stored = await made(port, cluster.namespace, token="one")
    assert (stored.owner, dict(stored.content)) == ("uid-1", {"token": "one"})
    assert await port.read_secret(cluster.namespace, NAME) == stored
    assert "one" not in repr(stored)


async def test_a_name_that_is_taken_is_a_conflict(port: ClusterPort, cluster: Cluster) -> None:
    await made(port, cluster.namespace, token="one")
    with pytest.raises(Conflict):
        await made(port, cluster.namespace, token="two")
    assert (await port.read_secret(cluster.namespace, NAME)).content["token"] == "one"


async def test_a_change_replaces_and_removes_in_one_write(port: ClusterPort, cluster: Cluster) -> None:
    before = await made(port, cluster.namespace, **{"token": "one", "next-token": "two"})
    patch = token_secret_patch(before.uid, before.version, {"token": "two", "next-token": None})
    after = await port.patch_secret(cluster.namespace, NAME, patch)
    assert dict(after.content) == {"token": "two"}
    assert (after.uid, after.owner) == (before.uid, before.owner)
    assert await port.read_secret(cluster.namespace, NAME) == after


async def test_a_change_of_what_has_changed_since_is_a_conflict(port: ClusterPort, cluster: Cluster) -> None:
    before = await made(port, cluster.namespace, token="one")
    await port.patch_secret(cluster.namespace, NAME, token_secret_patch(before.uid, before.version, {"token": "two"}))
    with pytest.raises(Conflict):
        await port.patch_secret(
            cluster.namespace, NAME, token_secret_patch(before.uid, before.version, {"token": "three"})
        )
    assert (await port.read_secret(cluster.namespace, NAME)).content["token"] == "two"


async def test_what_is_not_there_is_missing(port: ClusterPort, cluster: Cluster) -> None:
    with pytest.raises(Missing):
        await port.read_secret(cluster.namespace, NAME)
    with pytest.raises(Missing):
        await port.patch_secret(cluster.namespace, NAME, {"data": {}})


async def test_it_says_what_it_is_and_goes_with_its_owner(kube: KubeCluster, cluster: Cluster) -> None:
    owner = await cluster.create("agents-x2c4bd")
    body = token_secret(instance(cluster.namespace, owner["metadata"]["uid"]), {"token": "one"})
    body["metadata"]["ownerReferences"][0] |= {"apiVersion": cluster.api_version, "kind": "Widget"}
    await kube.create_secret(cluster.namespace, body)
    raw = (await cluster.send("GET", f"{cluster.core('secrets')}/{NAME}")).json()
    assert raw["type"] == "agentpool.dev/instance-token"
    assert raw["metadata"]["labels"] == {"agentpool.dev/pool": "agents", "app.kubernetes.io/managed-by": "agentpool"}
    cluster.needs_standalone("the genuine test server has no garbage collector")
    await cluster.send("DELETE", f"{cluster.widgets}/agents-x2c4bd")

    async def is_gone() -> bool:
        return not await cluster.exists(f"{cluster.core('secrets')}/{NAME}")

    await eventually(is_gone)


async def test_bytes_that_are_no_text_are_refused(kube: KubeCluster, cluster: Cluster) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "binary"}, "data": {"token": "/w=="}}
    await cluster.send("POST", cluster.core("secrets"), body)
    with pytest.raises(Refused, match="holds bytes that are not text"):
        await kube.read_secret(cluster.namespace, "binary")
