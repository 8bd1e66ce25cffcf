"""The clients people use: kubectl, the Python client and kopf."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kopf
import kubernetes as kubernetes_client
import pytest
import yaml

from tests.cluster.conftest import DEADLINE, Cluster, eventually

KUBECTL = shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl on this machine")


async def kubectl(cluster: Cluster, *arguments: str, stdin: str = "", fails: bool = False) -> str:
    """What kubectl prints: its output, or its complaint where it must fail."""
    assert KUBECTL is not None
    command = [KUBECTL, "--namespace", cluster.namespace, *arguments]
    environment = {**os.environ, "KUBECONFIG": str(cluster.server.kubeconfig)}
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        input=stdin,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


@needs_kubectl
async def test_kubectl_applies_scales_and_waits(cluster: Cluster) -> None:
    manifest = json.dumps(cluster.widget("k"))
    resource = f"widgets.{cluster.group}"
    assert "created" in await kubectl(cluster, "apply", "-f", "-", stdin=manifest)
    assert "unchanged" in await kubectl(cluster, "apply", "-f", "-", stdin=manifest)
    changed = json.dumps(cluster.widget("k", {"color": "blue"}))
    assert "configured" in await kubectl(cluster, "apply", "-f", "-", stdin=changed)
    assert "scaled" in await kubectl(cluster, "scale", f"{resource}/k", "--replicas=3")
    status = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    await kubectl(cluster, "patch", f"{resource}/k", "--subresource=status", "--type=merge", "-p", status)
    assert "condition met" in await kubectl(cluster, "wait", "--for=condition=Ready", f"{resource}/k")
    header, row = (await kubectl(cluster, "get", resource)).splitlines()
    assert header.split() == ["NAME", "COLOR", "REPLICAS", "READY", "AGE"]
    assert row.split()[:4] == ["k", "blue", "3", "True"]
    assert "deleted" in await kubectl(cluster, "delete", f"{resource}/k")


@needs_kubectl
async def test_kubectl_apply_on_the_server_side_sees_conflicts(cluster: Cluster) -> None:
    await kubectl(
        cluster, "apply", "--server-side", "--field-manager=one", "-f", "-", stdin=json.dumps(cluster.widget("k"))
    )
    other = json.dumps(cluster.widget("k", {"color": "blue"}))
    said = await kubectl(cluster, "apply", "--server-side", "--field-manager=two", "-f", "-", stdin=other, fails=True)
    assert 'conflict with "one": .spec.color' in said


@needs_kubectl
async def test_kubectl_shows_why_an_object_is_refused(cluster: Cluster) -> None:
    bad = json.dumps(cluster.widget("k", {"color": "red", "replicas": 60}))
    assert "replicas may not exceed maxReplicas" in await kubectl(cluster, "apply", "-f", "-", stdin=bad, fails=True)
    unknown = json.dumps(cluster.widget("k", {"color": "red", "bogus": 1}))
    said = await kubectl(cluster, "create", "--validate=strict", "-f", "-", stdin=unknown, fails=True)
    assert 'unknown field "spec.bogus"' in said


@needs_kubectl
async def test_kubectl_creates_core_kinds_in_its_own_encoding(cluster: Cluster) -> None:
    await kubectl(cluster, "create", "secret", "generic", "s", "--from-literal=key=välue")
    await kubectl(cluster, "create", "configmap", "c", "--from-literal=a=1", "--from-literal=b=2")
    assert await kubectl(cluster, "get", "configmap", "c", "-o", "jsonpath={.data.b}") == "2"
    secret = json.loads(await kubectl(cluster, "get", "secret", "s", "-o", "json"))
    assert secret["data"] == {"key": "dsOkbHVl"}
    name = f"{cluster.namespace}-n"
    await kubectl(cluster, "create", "namespace", name)
    await kubectl(cluster, "delete", "namespace", name, "--wait=false")


@needs_kubectl
async def test_kubectl_explains_and_asks(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server has no documents of custom resources and no access reviews")
    text = await kubectl(cluster, "explain", f"widgets.{cluster.group}.spec.color")
    assert "The colour." in text
    assert (await kubectl(cluster, "auth", "can-i", "create", f"widgets.{cluster.group}")).strip() == "yes"


@needs_kubectl
async def test_kubectl_describes_events(cluster: Cluster) -> None:
    cluster.needs_standalone("the genuine test server knows no field selectors of events")
    created = await cluster.create("k")
    about = {
        "apiVersion": cluster.api_version,
        "kind": "Widget",
        "name": "k",
        "namespace": cluster.namespace,
        "uid": created["metadata"]["uid"],
    }
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": about,
        "reason": "Tested",
        "message": "it works",
        "type": "Normal",
    }
    await cluster.send("POST", cluster.core("events"), event)
    assert "it works" in await kubectl(cluster, "describe", f"widgets.{cluster.group}", "k")


async def test_the_python_client_reads_writes_and_watches(cluster: Cluster) -> None:
    await asyncio.to_thread(_use_python_client, cluster)


def _use_python_client(cluster: Cluster) -> None:
    kubernetes: Any = kubernetes_client
    api_client = kubernetes.config.new_client_from_config(str(cluster.server.kubeconfig))
    try:
        core = kubernetes.client.CoreV1Api(api_client)
        body = kubernetes.client.V1ConfigMap(metadata=kubernetes.client.V1ObjectMeta(name="c"), data={"a": "b"})
        core.create_namespaced_config_map(cluster.namespace, body)
        assert core.read_namespaced_config_map("c", cluster.namespace).data == {"a": "b"}
        custom = kubernetes.client.CustomObjectsApi(api_client)
        place = (cluster.group, "v1alpha1", cluster.namespace, "widgets")
        created = custom.create_namespaced_custom_object(*place, cluster.widget("p"))
        assert created["spec"]["replicas"] == 1
        patched = custom.patch_namespaced_custom_object(*place, "p", {"spec": {"color": "blue"}})
        assert patched["spec"]["color"] == "blue"
        watch = kubernetes.watch.Watch()
        for event in watch.stream(custom.list_namespaced_custom_object, *place, timeout_seconds=20):
            assert event["object"]["metadata"]["name"] == "p"
            watch.stop()
        custom.delete_namespaced_custom_object(*place, "p")
    finally:
        api_client.rest_client.pool_manager.clear()


async def test_kopf_watches(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load(cluster.server.kubeconfig.read_text())
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    seen: list[tuple[str | None, str]] = []
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**arguments: Any) -> Any:
        return kopf.login_with_kubeconfig(**arguments)

    @kopf.on.event(cluster.group, "v1alpha1", "widgets", registry=registry)
    async def on_event(event: Any, name: str, **_: Any) -> None:
        seen.append((event["type"], name))

    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    await cluster.create("before")
    stop, ready = asyncio.Event(), asyncio.Event()
    operator = asyncio.create_task(
        kopf.operator(
            registry=registry, settings=settings, namespaces=[cluster.namespace], stop_flag=stop, ready_flag=ready
        )
    )

    async def has_seen(event: tuple[str | None, str]) -> bool:
        assert not operator.done()
        return event in seen

    await eventually(lambda: has_seen((None, "before")))
    await cluster.create("k")
    await eventually(lambda: has_seen(("ADDED", "k")))
    await cluster.patched("k", {"spec": {"color": "blue"}})
    await eventually(lambda: has_seen(("MODIFIED", "k")))
    await cluster.send("DELETE", f"{cluster.widgets}/k")
    await eventually(lambda: has_seen(("DELETED", "k")))
    stop.set()
    await operator
