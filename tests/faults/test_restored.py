"""An API server that comes back as it once was: what it told of since never happened, though agents remember it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.api import Api
from tests.e2e.commands import Command
from tests.e2e.system import System, create_namespace, names, uid_of, unique
from tests.e2e.waiting import eventually
from tests.faults.run import World

pytestmark = pytest.mark.cluster


@pytest.fixture
def system(world: World, tmp_path: Path) -> Iterator[System]:
    """An operator whose Lease outlasts what happens here: whoever loses the lead begins anew in any case."""
    if "etcd" not in world.server.parts and world.server.name == "genuine":
        pytest.skip("the API server is somebody else's: AGENTPOOL_TEST_ENVTEST names scripts of one that is not")
    api, state = Api(world.server.kubeconfig, unique("restored")), tmp_path / "state"
    create_namespace(api)
    env = {
        "AGENTPOOL_ORPHAN_GRACE_SECONDS": "1",
        "AGENTPOOL_BACKENDS": "process",
        "AGENTPOOL_LEASE_DURATION_SECONDS": "60",
    }
    where = ("--kubeconfig", str(world.server.kubeconfig), "--namespace", api.namespace)
    rest = ("--operator-namespace", api.namespace, "--state-dir", str(state))
    command = Command("run", *where, *rest, log=tmp_path / "log", **env).start()
    system = System(world.server.name, api, command, state / "instances", api.namespace)
    try:
        command.wait_ready()
        yield system
    finally:
        system.erase()


def test_what_an_api_server_has_forgotten_is_not_believed_any_more(world: World, system: System) -> None:
    system.pool("p", minIdle=2)
    system.claim("old", "p")
    system.bound("old")
    idle = names(system.warm("p", 2))
    world.server.keep()
    system.claim("forgotten", "p")
    told = system.bound("forgotten")["status"]
    system.api.delete("agentclaims", "old")
    system.gone("agentclaims", "old")
    made = [instance for instance in system.warm("p", 2) if instance["metadata"]["name"] not in idle]
    before = len(system.command.output)
    world.server.restore()

    def said() -> bool:
        return "beginning anew" in system.command.output[before:]

    # A genuine one knows no custom kind at first, which ends the watches, too.
    eventually(said, lambda: system.command.output)
    assert system.kind == "genuine" or "was restored from an earlier state" in system.command.output
    assert system.claim_says("old", "False/InstanceCrashed")
    # What took up a conversation is nobody's, and idle: whoever gets it learns that it is taken, and gets another one.
    for claim in ("one", "another"):
        system.claim(claim, "p")
    held = {system.bound(claim)["status"]["conversationId"] for claim in ("one", "another")}
    assert len(held) == 2
    assert told["conversationId"] not in held
    system.gone("agentinstances", told["instance"])
    eventually(lambda: not {uid_of(each) for each in made} & system.families().keys(), system.families)
    system.command.check_output()
