"""A client of the API server under test, in one namespace; kubectl included."""

import base64
import json
import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.e2e.waiting import DEADLINE

GROUP = "/apis/agentpool.dev/v1alpha1"
KINDS = {"agentpools": "AgentPool", "agentinstances": "AgentInstance", "agentclaims": "AgentClaim"}
MERGE = "application/merge-patch+json"
CRDS = Path(__file__).parents[2] / "crds"

Object = dict[str, Any]


class UnwellError(AssertionError):
    """The API server itself is not well for the moment, which says nothing of what it was asked about."""


class Api:
    """Creates, reads, changes and deletes objects of one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.kubeconfig, self.namespace = kubeconfig, namespace
        self.url: str = cluster["server"]
        self.token: str = config["users"][0]["user"]["token"]
        self.tls = ssl.create_default_context(cadata=authority)
        headers = {"Authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=self.url, verify=self.tls, headers=headers, timeout=DEADLINE, trust_env=False)

    def path(self, plural: str, name: str = "") -> str:
        group = GROUP if plural in KINDS else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def create(self, plural: str, name: str, **content: Any) -> Object:
        body: Object = {"metadata": {"name": name}, **content}
        if plural in KINDS:
            body |= {"apiVersion": "agentpool.dev/v1alpha1", "kind": KINDS[plural]}
        else:
            body |= {"apiVersion": "v1", "kind": {"secrets": "Secret", "configmaps": "ConfigMap"}[plural]}
        answer = self.http.post(self.path(plural), json=body)
        assert answer.status_code == 201, answer.text
        created: Object = answer.json()
        return created

    def find(self, plural: str, name: str) -> Object | None:
        answer = self.http.get(self.path(plural, name))
        if _is_unwell(answer):
            raise UnwellError(answer.text)
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        found: Object = answer.json()
        return found

    def get(self, plural: str, name: str) -> Object:
        found = self.find(plural, name)
        assert found is not None, f"{plural} {name} does not exist"
        return found

    def all(self, plural: str) -> list[Object]:
        answer = self.http.get(self.path(plural))
        if _is_unwell(answer):
            raise UnwellError(answer.text)
        assert answer.status_code == 200, answer.text
        items: list[Object] = answer.json()["items"]
        return items

    def patch(self, plural: str, name: str, patch: Object) -> Object:
        answer = self.http.patch(self.path(plural, name), content=json.dumps(patch), headers={"Content-Type": MERGE})
        assert answer.status_code == 200, answer.text
        changed: Object = answer.json()
        return changed

    def delete(self, plural: str, name: str) -> None:
        answer = self.http.delete(self.path(plural, name))
        assert answer.status_code in {200, 202, 404}, answer.text

    def events(self, name: str) -> list[Object]:
        """The Events about the object of that name."""
        return [event for event in self.all("events") if event["involvedObject"]["name"] == name]

    def secret(self, name: str, namespace: str) -> dict[str, str]:
        """The decoded content of a Secret, in any namespace."""
        data = self.http.get(f"/api/v1/namespaces/{namespace}/secrets/{name}").json()["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def installation(self, namespace: str) -> str:
        """The id with which the operator of that namespace marks what it makes."""
        found = self.http.get(f"/api/v1/namespaces/{namespace}/configmaps/agentpool-installation").json()
        return str(found["data"]["id"])

    def create_secret(self, name: str, **content: str) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
        self.create("secrets", name, data=data)

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints; it must succeed."""
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def resource_versions(self) -> dict[str, str]:
        """The resourceVersion of everything that the operator could have written to."""
        plurals = (*KINDS, "secrets", "configmaps", "events")
        return {
            f"{plural}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for plural in plurals
            for item in self.all(plural)
        }

    def version(self, plural: str) -> str:
        """The resourceVersion as of now, for ``history``."""
        return str(self.http.get(self.path(plural)).json()["metadata"]["resourceVersion"])

    def history(self, plural: str, since: str) -> list[tuple[str, Object]]:
        """What a watch tells of everything that has happened since that version, as (type, object)."""
        params = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "1"}
        answer = self.http.get(self.path(plural), params=params)
        assert answer.status_code == 200, answer.text
        events = [json.loads(line) for line in answer.text.splitlines()]
        assert all(event["type"] in {"ADDED", "MODIFIED", "DELETED"} for event in events), events
        return [(event["type"], event["object"]) for event in events]


def _is_unwell(answer: httpx.Response) -> bool:
    """Whether it is busy or fails, or has just started and knows none of our kinds: then a 404 names no object."""
    if answer.status_code == 404:
        return not answer.json().get("details", {}).get("name")
    return answer.status_code == 429 or answer.status_code >= 500


def condition(obj: Object, kind: str) -> Object:
    """The condition of that type; an empty one where the object has none yet."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {})


def reason(obj: Object, kind: str) -> str:
    """Status and reason of a condition in one word, such as ``False/PoolNotFound``."""
    found = condition(obj, kind)
    return f"{found.get('status')}/{found.get('reason')}"
