"""The API server as a command sees it: one namespace, and sentences for a person who looked for something."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from controller.errors import Misconfigured, Missing, Refused
from controller.kube.client import KubeCluster
from controller.kube.connection import connect
from controller.kube.context import own_namespace
from controller.model import INSTALLATION, SecretKeyRef
from controller.ports import AnyResource
from controller.reconcile.secrets import Secrets
from controller.settings import Settings

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ApiServer:
    """An API server and the namespace to look in."""

    cluster: KubeCluster
    namespace: str
    operator_namespace: str

    async def read(self, kind: type[AnyResource], name: str) -> AnyResource:
        """One object by its name; every error says what a person can do."""
        if not _NAME.fullmatch(name):
            raise Missing(f"{name!r} cannot be the name of an {kind.kind_name}: {self._hint(kind)}")
        try:
            return await self.cluster.read(kind, self.namespace, name)
        except Missing:
            raise Missing(
                f"there is no {kind.kind_name} {name} in namespace {self.namespace}: {self._hint(kind)}"
            ) from None
        except Refused as error:
            raise self._explained(error, f"get {kind.plural}") from None

    async def secret(self, reference: SecretKeyRef) -> str:
        """One key of a Secret; every error says what a person can do."""
        try:
            return await Secrets(self.cluster).value(self.namespace, reference.name, reference.key)
        except Missing as error:
            # Not what was asked for is missing, but the way to it.
            raise Refused("SecretNotFound", str(error)) from None
        except Refused as error:
            raise self._explained(error, f"get Secret {reference.name}") from None

    async def installation_id(self) -> str:
        """The id with which the operator marks what it makes. Reads only: a command founds no installation."""
        try:
            content = await self.cluster.read_config_map(self.operator_namespace, INSTALLATION)
        except Missing:
            raise Missing(
                f"there is no ConfigMap {INSTALLATION} in namespace {self.operator_namespace}: name the namespace of "
                "the operator with --operator-namespace"
            ) from None
        except Refused as error:
            raise self._explained(error, f"get ConfigMap {INSTALLATION}", self.operator_namespace) from None
        if not content.get("id"):
            where = f"ConfigMap {INSTALLATION} in namespace {self.operator_namespace}"
            raise Misconfigured(f"{where} is damaged: it has no id")
        return content["id"]

    def _hint(self, kind: type[AnyResource]) -> str:
        return f"see 'kubectl get {kind.plural} --namespace {self.namespace}', or name another with --namespace"

    def _explained(self, error: Refused, right: str, namespace: str | None = None) -> Refused:
        if error.reason != "Forbidden":
            return error
        where = namespace or self.namespace
        return Refused(error.reason, f"you lack the right to {right} in namespace {where}: {error}")


@asynccontextmanager
async def api_server(settings: Settings, namespace: str | None) -> AsyncIterator[ApiServer]:
    """The API server that the settings name, in a namespace: the kubeconfig's own unless named."""
    connection = await connect(settings.kubeconfig, settings.context)
    chosen = namespace or await own_namespace(settings.kubeconfig, settings.context)
    if not _NAME.fullmatch(chosen):
        raise Misconfigured(f"{chosen!r} cannot be the name of a namespace: correct --namespace")
    async with KubeCluster(connection, (chosen,)) as cluster:
        yield ApiServer(cluster, chosen, settings.operator_namespace)
