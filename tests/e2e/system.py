"""A whole system: an API server, the operator, and the instances that it makes on this host."""

import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e import host
from tests.e2e.api import Api, Object, condition, reason
from tests.e2e.commands import Command
from tests.e2e.waiting import DEADLINE, eventually

FAST = {"startup": {"probeIntervalMilliseconds": 100}, "health": {"intervalSeconds": 1, "timeoutSeconds": 5}}
"""Nothing but quicker looks than the defaults, so that a test need not wait for them."""
GATEWAY = {"protocol": "convos", "command": ["sh", "-c", f'exec "{sys.executable}" -m agent.loopback --port $PORT']}
"""A bare gateway that speaks the convos protocol: the loopback service without a supervisor."""
SHORT_LEASE = {
    "AGENTPOOL_LEASE_DURATION_SECONDS": "3",
    "AGENTPOOL_LEASE_MARGIN_SECONDS": "1",
    "AGENTPOOL_LEASE_RENEW_SECONDS": "1",
    "AGENTPOOL_LEASE_POLL_SECONDS": "0.2",
}
"""One that is killed and started again waits until the Lease of its own last life has run out."""
FINALIZER = "agentpool.dev/remote"


@dataclass
class System:
    """One operator on one API server, with a namespace of its own."""

    kind: str
    api: Api
    command: Command
    instances_root: Path
    operator_namespace: str

    # What a person does.

    def pool(self, name: str, *, template: Object | None = None, **spec: Any) -> str:
        """Create a pool; it holds one warm instance unless told otherwise."""
        whole = {"minIdle": 1, "maxTotal": 6, "backend": {"process": {}}, "template": template or {}, **FAST, **spec}
        self.api.create("agentpools", name, spec=whole)
        return name

    def claim(self, name: str, pool: str, **spec: Any) -> str:
        self.api.create("agentclaims", name, spec={"pool": pool, **spec})
        return name

    def change(self, pool: str, **spec: Any) -> None:
        self.api.patch("agentpools", pool, {"spec": spec})

    # What there is.

    def instances(self, pool: str, *phases: str) -> list[Object]:
        """The instances of a pool, those in one of the phases if any are given."""
        found = [item for item in self.api.all("agentinstances") if item["spec"]["pool"] == pool]
        return [item for item in found if not phases or item.get("status", {}).get("phase") in phases]

    def idle(self, pool: str) -> list[Object]:
        return [item for item in self.instances(pool, "Idle") if "claimRef" not in item["spec"]]

    def launches(self, pool: str, since: str) -> set[str]:
        """The uids of all instances of a pool that were created since that resourceVersion."""
        events = self.api.history("agentinstances", since)
        return {uid_of(obj) for kind, obj in events if kind == "ADDED" and obj["spec"]["pool"] == pool}

    def get_pool(self, name: str) -> Object:
        return self.api.get("agentpools", name)

    def get_claim(self, name: str) -> Object:
        return self.api.get("agentclaims", name)

    def instance_of(self, claim: str) -> Object:
        return self.api.get("agentinstances", self.get_claim(claim)["status"]["instance"])

    def pids(self, instance: Object) -> set[int]:
        return host.processes_of(self.instances_root, uid_of(instance))

    def families(self) -> dict[str, list[int]]:
        """For every instance that runs, by uid, the pids of its main processes: one each, if all is well."""
        return host.mains(self.instances_root)

    def homes(self) -> set[str]:
        """The uids of all instances that have a directory."""
        root = self.instances_root
        return {home.name for home in root.iterdir() if not home.name.startswith(".")} if root.exists() else set()

    def home(self, instance: Object) -> Path:
        return self.instances_root / uid_of(instance)

    def token(self, instance: Object) -> str:
        """The bearer token of an instance; of one that is claimed, once its Secret holds no other any more."""
        claimed = "claimRef" in self.api.get("agentinstances", name_of(instance))["spec"]

        def counts() -> str:
            content = self.api.secret(f"{name_of(instance)}-token", self.api.namespace)
            return "" if claimed and "next-token" in content else content["token"]

        return eventually(counts, lambda: self.describe(instance["spec"]["pool"]))

    def ask(self, instance: Object, method: str, path: str, *, token: str = "", **more: Any) -> httpx.Response:
        """Talk to the program inside an instance, with its own token unless another one is given."""
        headers = {"Authorization": f"Bearer {token or self.token(instance)}"}
        url = instance["status"]["url"] + path
        # Without TLS there is nothing to verify, and reading all authorities takes longer than the request.
        verify = url.startswith("https:")
        with httpx.Client(trust_env=False, timeout=DEADLINE, verify=verify) as http:
            return http.request(method, url, headers=headers, **more)

    # What is waited for.

    def warm(self, pool: str, count: int = 1) -> list[Object]:
        """The idle instances of a pool once there are so many, and as many in its status."""

        def check() -> list[Object]:
            idle = self.idle(pool)
            settled = len(idle) == count == self.get_pool(pool).get("status", {}).get("idle")
            return idle if settled else []

        return eventually(check, lambda: self.describe(pool))

    def bound(self, claim: str) -> Object:
        return self.phase(claim, "Bound")

    def phase(self, claim: str, phase: str) -> Object:
        def check() -> Object | None:
            found = self.get_claim(claim)
            return found if found.get("status", {}).get("phase") == phase else None

        found = eventually(check, lambda: self.get_claim(claim).get("status"))
        assert found is not None
        return found

    def claim_says(self, claim: str, expected: str) -> Object:
        """The claim once its Ready condition has that status and reason."""
        self._says("agentclaims", claim, "Ready", expected)
        return self.get_claim(claim)

    def instance_says(self, instance: str, expected: str) -> Object:
        self._says("agentinstances", instance, "Ready", expected)
        return self.api.get("agentinstances", instance)

    def pool_says(self, pool: str, kind: str, expected: str) -> str:
        """The message of a pool's condition, once it has that status and reason."""
        return self._says("agentpools", pool, kind, expected)

    def gone(self, plural: str, name: str) -> None:
        eventually(lambda: self.api.find(plural, name) is None, lambda: self.api.find(plural, name))

    def _says(self, plural: str, name: str, kind: str, expected: str) -> str:
        def check() -> Object | None:
            found = self.api.get(plural, name)
            return found if reason(found, kind) == expected else None

        found = eventually(check, lambda: self.api.get(plural, name).get("status"))
        return str(condition(found or {}, kind)["message"])

    def describe(self, pool: str) -> object:
        instances = [(item["metadata"]["name"], item.get("status")) for item in self.instances(pool)]
        return self.get_pool(pool).get("status"), instances, self.command.output[-3000:]

    # The end.

    def remove(self, *names: str) -> None:
        """Delete all pools and claims whose name begins with one of these; the operator does the rest."""
        for plural in ("agentclaims", "agentpools"):
            for item in self.api.all(plural):
                if item["metadata"]["name"].startswith(names):
                    self.api.delete(plural, item["metadata"]["name"])

    def erase(self) -> None:
        """Remove every trace from the host and, since others use it too, from a genuine API server."""
        self.command.end()
        host.end_all(self.instances_root)
        if self.kind == "genuine":
            for plural in ("agentclaims", "agentpools", "agentinstances", "events", "secrets", "configmaps"):
                for item in self.api.all(plural):
                    if item["metadata"].get("finalizers"):
                        self.api.patch(plural, item["metadata"]["name"], {"metadata": {"finalizers": None}})
                    self.api.delete(plural, item["metadata"]["name"])
            self.api.http.delete(f"/api/v1/namespaces/{self.api.namespace}")
        self.api.http.close()


def uid_of(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def name_of(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def names(objects: Sequence[Object]) -> set[str]:
    return {name_of(obj) for obj in objects}


def unique(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(3)}"


def set_up(kind: str, folder: Path, genuine: Path | None, *arguments: str, **env: str) -> System:
    """Start the operator, and on a machine of its own its API server too, and wait until it is ready."""
    namespace = unique("e2e")
    env = {"AGENTPOOL_ORPHAN_GRACE_SECONDS": "2", **SHORT_LEASE, **env}
    if genuine is None:
        data, log = folder / "data", folder / "log"
        command = Command("standalone", "--data-dir", str(data), *arguments, log=log, **env).start()
        try:
            command.wait_ready()
            api = Api(data / "kubeconfig", namespace)
            create_namespace(api)
        except BaseException:
            command.end()
            raise
        return System(kind, api, command, data / "instances", "default")
    api = Api(genuine, namespace)
    create_namespace(api)
    where = ("--kubeconfig", str(genuine), "--namespace", namespace, "--operator-namespace", namespace)
    state = folder / "state"
    command = Command("run", *where, "--state-dir", str(state), *arguments, log=folder / "log", **env).start()
    system = System(kind, api, command, state / "instances", namespace)
    try:
        command.wait_ready()
    except BaseException:
        system.erase()
        raise
    return system


def create_namespace(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api.namespace}}
    answer = api.http.post("/api/v1/namespaces", json=body)
    assert answer.status_code == 201, answer.text
