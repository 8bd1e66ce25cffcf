"""The installation: a ConfigMap that is made once and read ever after. It holds an id, and no secret."""

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.errors import Conflict, Misconfigured, Missing, Refused
from controller.kube.client import KubeCluster
from controller.model import INSTALLATION, AgentInstance


@dataclass(frozen=True, slots=True)
class Installation:
    """Who this installation of the operator is: the id marks its remotes."""

    id: str
    former_key: bytes | None = field(default=None, repr=False)
    """From which an earlier version derived the tokens of its instances; ``None``: there is no such key any more."""


async def installation(cluster: KubeCluster, namespace: str) -> Installation:
    """The id of this installation, taken over from an earlier version where there was one."""
    try:
        content = await cluster.read_config_map(namespace, INSTALLATION)
    except Missing:
        former = await _former(cluster, namespace)
        if not former.get("id"):
            await _require_a_fresh_start(cluster, namespace)
        content = await _create(cluster, namespace, former.get("id") or uuid.uuid4().hex[:12])
    else:
        try:
            former = await _former(cluster, namespace)
        except Refused:
            former = {}  # who may not read Secrets here never had one here
    if not content.get("id"):
        raise Misconfigured(
            f"ConfigMap {INSTALLATION} in namespace {namespace} is damaged: it has no id; restore it from a backup, or "
            "delete it together with all AgentInstances"
        )
    return Installation(content["id"], _key(former, namespace))


async def _require_a_fresh_start(cluster: KubeCluster, namespace: str) -> None:
    """``Misconfigured`` when there was one: with another id, nothing that runs would be this one's any more."""
    launched = [each for each in await cluster.list(AgentInstance) if each.status.launched_at is not None]
    if launched:
        names = f"{len(launched)} in all, such as {'/'.join(launched[0].key)}"
        raise Misconfigured(
            f"ConfigMap {INSTALLATION} is not in namespace {namespace}, but AgentInstances were launched, {names}: "
            "restore it from a backup, name the namespace where it is with --operator-namespace, or delete all "
            "AgentInstances together with what runs for them"
        )


async def recognises(cluster: KubeCluster, namespace: str, founded: Installation) -> bool:
    """Whether this is still an API server that knows this installation.

    One that has lost everything, or was restored from somebody else's backup, shows none of its instances either.
    """
    try:
        return (await cluster.read_config_map(namespace, INSTALLATION)).get("id") == founded.id
    except Missing:
        return False


async def _former(cluster: KubeCluster, namespace: str) -> Mapping[str, str]:
    try:
        return (await cluster.read_secret(namespace, INSTALLATION)).content
    except Missing:
        return {}


def _key(former: Mapping[str, str], namespace: str) -> bytes | None:
    if not former:
        return None
    try:
        return base64.b64decode(former["key"], validate=True)
    except (KeyError, ValueError):
        raise Misconfigured(
            f"Secret {INSTALLATION} in namespace {namespace} is damaged: it needs the key 'key' (base64); restore it "
            "from a backup, or delete it together with all AgentInstances that an earlier version launched"
        ) from None


async def _create(cluster: KubeCluster, namespace: str, identity: str) -> Mapping[str, str]:
    content = {"id": identity}
    try:
        await cluster.create_config_map(namespace, INSTALLATION, content)
    except Conflict:
        # Another replica was faster: its id is the id.
        return await cluster.read_config_map(namespace, INSTALLATION)
    except (Missing, Refused) as error:
        raise Misconfigured(
            f"ConfigMap {INSTALLATION} cannot be created in namespace {namespace}: {error}; create the namespace, "
            "allow it, or choose another with --operator-namespace"
        ) from None
    return content
