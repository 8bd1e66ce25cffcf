"""Several operators on one API server and one host, each with a way of its own to the API server."""

import signal
from pathlib import Path

from tests.e2e import host
from tests.e2e.api import Api, Object
from tests.e2e.commands import Command
from tests.e2e.proxy import Relay
from tests.e2e.system import System, create_namespace, uid_of, unique
from tests.e2e.waiting import eventually

QUICK = {
    "AGENTPOOL_LEASE_DURATION_SECONDS": "4",
    "AGENTPOOL_LEASE_MARGIN_SECONDS": "1",
    "AGENTPOOL_LEASE_RENEW_SECONDS": "1",
    "AGENTPOOL_LEASE_POLL_SECONDS": "0.25",
}
"""A test need not wait for more."""


class Replica:
    """One operator, and its way to the API server, which can be cut."""

    def __init__(self, kubeconfig: Path, folder: Path, namespace: str, state: Path, env: dict[str, str]) -> None:
        folder.mkdir()
        self.relay = Relay(kubeconfig, folder)
        self.relay.open()
        where = ("--kubeconfig", str(self.relay.kubeconfig), "--namespace", namespace)
        rest = ("--operator-namespace", namespace, "--state-dir", str(state))
        self.command = Command("run", *where, *rest, log=folder / "log", **env)

    def leads(self) -> bool:
        """Whether it says so; one that is stopped says nothing, so do not ask it."""
        return self.command.running and "agentpool_leader 1.0" in self.command.metrics()

    def stop(self) -> None:
        """SIGSTOP."""
        self.command.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.command.signal(signal.SIGCONT)


class Replicas:
    """Operators that stand by for each other, and what they do together."""

    def __init__(self, kind: str, kubeconfig: Path, folder: Path, **env: str) -> None:
        api = Api(kubeconfig, unique("ha"))
        create_namespace(api)
        self._state = folder / "state"
        env = {"AGENTPOOL_ORPHAN_GRACE_SECONDS": "2", "AGENTPOOL_BACKENDS": "process", **env}
        self.all = [
            Replica(kubeconfig, folder / f"replica{number}", api.namespace, self._state, env) for number in range(2)
        ]
        self.system = System(kind, api, self.all[0].command, self._state / "instances", api.namespace)

    def start(self) -> tuple[Replica, Replica]:
        """Start both; answers who leads, and who stands by."""
        first, second = self.all
        first.command.start()
        first.command.wait_ready()
        second.command.start()
        self.wait_to_stand_by(second)
        return first, second

    def lease(self) -> Object:
        """The Lease as it is now."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.system.api.namespace}/leases/agentpool"
        found: Object = self.system.api.http.get(path).json()
        return found

    def wait_to_lead(self, replica: Replica) -> None:
        """Until it leads and works."""
        eventually(lambda: replica.leads() and replica.command.readiness() == (200, "ok"), self.output)
        self.system.command = replica.command

    def wait_to_stand_by(self, replica: Replica) -> None:
        """Until it says that it does."""
        eventually(lambda: replica.command.readiness()[1].startswith("standby: "), self.output)

    def output(self) -> str:
        """What they have said."""
        return "\n\n".join(replica.command.output[-3000:] for replica in self.all)

    def erase(self) -> None:
        """Leave nothing behind."""
        for replica in self.all:
            if replica.command.running:
                replica.go_on()
                replica.command.end()
            replica.relay.close()
        self.system.erase()


def check_nothing_is_doubled_or_lost(system: System, pool: str, claims: list[str]) -> None:
    """Every claim has one instance and one conversation, every instance one process, and nothing else is there."""
    bound = {name: system.bound(name) for name in claims}
    idle = int(system.get_pool(pool)["spec"]["minIdle"])
    system.warm(pool, idle)
    eventually(lambda: len(system.instances(pool)) == len(claims) + idle, lambda: system.describe(pool))
    assert {claim["metadata"]["name"] for claim in system.api.all("agentclaims")} == set(claims)
    instances = {uid_of(instance): instance for instance in system.instances(pool)}

    def one_each() -> bool:
        families = host.mains(system.instances_root)
        return families.keys() == instances.keys() and all(len(pids) == 1 for pids in families.values())

    eventually(one_each, lambda: (host.mains(system.instances_root), instances.keys()))
    eventually(lambda: homes(system) == instances.keys(), lambda: (homes(system), instances.keys()))
    holders = [instance["spec"]["claimRef"]["uid"] for instance in instances.values() if "claimRef" in instance["spec"]]
    assert sorted(holders) == sorted(uid_of(claim) for claim in bound.values())
    for claim in bound.values():
        instance = system.api.get("agentinstances", claim["status"]["instance"])
        assert instance["spec"]["claimRef"]["uid"] == uid_of(claim)
        conversation = system.ask(instance, "GET", "/convos/status").json()["conversation"]
        assert conversation == {"id": claim["status"]["conversationId"], "inviteUrl": claim["status"]["inviteUrl"]}
        log = (system.home(instance) / "log").read_text()
        assert log.count("created a conversation") == 1, log
    for instance in system.idle(pool):
        assert system.ask(instance, "GET", "/pool/health").json()["clean"] is True
    conversations = [claim["status"]["conversationId"] for claim in bound.values()]
    assert len(set(conversations)) == len(conversations)


def homes(system: System) -> set[str]:
    """The uids of all instances that have a directory."""
    return {home.name for home in system.instances_root.iterdir() if not home.name.startswith(".")}
