"""A whole system whose instances are services of a Railway on loopback, and what that has of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from controller.backends.railway.documents import DOCUMENTS
from tests.e2e.api import Object
from tests.e2e.commands import run_to_end
from tests.e2e.system import System, set_up, uid_of
from tests.e2e.waiting import eventually
from tests.railway import RemoteControl, TwinProcess

IMAGE = "registry.example/agents/agent@sha256:" + "0" * 64
SECRET = "railway"
CREATING = ("serviceCreate", "volumeCreate", "serviceDomainCreate", "environmentPatchCommit")


@dataclass
class RailwaySystem(System):
    """One operator that reaches the twin; its pools are in the environment dev unless told otherwise."""

    twin: RemoteControl
    told: Mapping[str, Any]

    # What a person does.

    def backend(self, environment: str = "dev", **options: Any) -> Object:
        """The options that lead to an environment, with the Secret of its token."""
        name = f"{SECRET}-{environment}"
        if self.api.find("secrets", name) is None:
            self.api.create_secret(name, token=self.told["project_tokens"][environment])
        way = {
            "projectId": self.told["project_id"],
            "environmentId": self.told["environments"][environment],
            "tokenSecretRef": {"name": name, "key": "token"},
            "plan": "Pro",
            "terminationGraceSeconds": 1,
        }
        return {"railway": {**way, **options}}

    def pool(self, name: str, *, template: Object | None = None, **spec: Any) -> str:
        whole = {"image": IMAGE, "network": "dev"} if template is None else template
        return super().pool(name, template=whole, **{"backend": self.backend(), **spec})

    def delete_service(self, service_id: str) -> None:
        """As somebody does on its page at Railway."""
        self._at_railway("ServiceDelete", id=service_id)

    def set_variable(self, service_id: str, name: str, value: str) -> None:
        """As somebody does on its page at Railway; it is deployed anew."""
        patch = {"services": {service_id: {"variables": {name: {"value": value}}}}}
        self._at_railway("EnvironmentPatchCommit", environmentId=self.told["environments"]["dev"], patch=patch)

    def _at_railway(self, name: str, **variables: Any) -> None:
        body = {"query": DOCUMENTS[name].text, "operationName": name, "variables": variables}
        headers = {"Authorization": f"Bearer {self.told['token']}"}
        answer = httpx.post(self.told["url"], params={"source": "person"}, json=body, headers=headers, trust_env=False)
        assert answer.json().get("data"), answer.text

    def agentpool(self, *words: str) -> str:
        """What an agentpool command prints; it must succeed."""
        where = {"KUBECONFIG": str(self.api.kubeconfig), "AGENTPOOL_OPERATOR_NAMESPACE": self.operator_namespace}
        way = {"RAILWAY_API_URL": self.told["url"], "RAILWAY_EDGE_URL": self.told["edge_url"]}
        code, told = run_to_end(*words, "--namespace", self.api.namespace, **where, **way)
        assert code == 0, told
        return told

    # What there is.

    def services(self, environment: str = "dev") -> dict[str, Object]:
        """What the environment really has, by the id of the service."""
        found = self._environment(environment)["services"]
        return {key: each for key, each in found.items() if not each["deleted"]}

    def volumes(self, environment: str = "dev") -> list[Object]:
        return list(self._environment(environment)["volumes"].values())

    def service_of(self, instance: Object) -> str:
        """The id of its service."""
        (found,) = [key for key, each in self.services().items() if each["label"] == uid_of(instance)]
        return found

    def _environment(self, environment: str) -> Object:
        project = self.twin.state()["projects"][self.told["project_id"]]
        found: Object = project["environments"][self.told["environments"][environment]]
        return found

    # What is waited for.

    def nothing_left(self) -> None:
        eventually(lambda: not self.services() and not self.volumes(), lambda: (self.services(), self.volumes()))


def set_up_railway(
    kind: str, folder: Path, genuine: Path | None, twin: TwinProcess, *arguments: str, **env: str
) -> RailwaySystem:
    """Start an operator that reaches the twin."""
    way = {"RAILWAY_API_URL": twin.told["url"], "RAILWAY_EDGE_URL": twin.told["edge_url"]}
    system = set_up(kind, folder, genuine, *arguments, **way, **env)
    return RailwaySystem(**vars(system), twin=twin.control, told=twin.told)
