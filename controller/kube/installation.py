"""The installation Secret: made once, read ever after."""

import base64
import secrets
import uuid

from controller.errors import Conflict, Misconfigured, Missing, Refused
from controller.kube.client import KubeCluster

SECRET_NAME = "agentpool-installation"  # noqa: S105 - the name of the Secret


async def installation_secret(cluster: KubeCluster, namespace: str) -> tuple[str, bytes]:
    """The id and the key of this installation. Whoever loses the key loses the way to talk to running instances."""
    try:
        content = await cluster.read_secret(namespace, SECRET_NAME)
    except Missing:
        content = await _create(cluster, namespace)
    try:
        return content["id"], base64.b64decode(content["key"], validate=True)
    except (KeyError, ValueError):
        raise Misconfigured(
            f"Secret {SECRET_NAME} in namespace {namespace} is damaged: it needs the keys id and key (base64); restore "
            "it from a backup, or delete it together with all AgentInstances"
        ) from None


async def _create(cluster: KubeCluster, namespace: str) -> dict[str, str]:
    content = {"id": uuid.uuid4().hex[:12], "key": base64.b64encode(secrets.token_bytes(32)).decode()}
    try:
        await cluster.create_secret(namespace, SECRET_NAME, content)
    except Conflict:
        # Another replica was faster: its key is the key.
        return dict(await cluster.read_secret(namespace, SECRET_NAME))
    except (Missing, Refused) as error:
        raise Misconfigured(
            f"Secret {SECRET_NAME} cannot be created in namespace {namespace}: {error}; create the namespace, allow "
            "it, or choose another with --operator-namespace"
        ) from None
    return content
