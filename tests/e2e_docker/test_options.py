"""What a pool's spec asks for is what its containers have."""

import json

import pytest

from tests.e2e.api import KINDS
from tests.e2e.system import name_of, uid_of
from tests.e2e.waiting import eventually
from tests.e2e_docker.stage import INSTALLATION, ON_DELETE, POOL, UID, DockerSystem

pytestmark = pytest.mark.cluster


def test_limits_and_options_of_the_spec_are_those_of_the_container(system: DockerSystem, name: str) -> None:
    options = {
        "logs": {"maxSize": "1m", "maxFiles": 2},
        "labels": {"team": "travel", POOL: "another"},
        "addCapabilities": ["NET_BIND_SERVICE"],
        "init": False,
    }
    template = {"resources": {"memory": "300Mi", "cpu": "1500m", "pids": 200}, "port": 9000}
    system.pool(name, backend={"docker": options}, template=template)
    (instance,) = system.warm(name)
    shown = system.inspect(instance)
    host, config = shown["HostConfig"], shown["Config"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (300 << 20, 300 << 20, 1_500_000_000)
    assert (host["PidsLimit"], host["Init"], host["CapAdd"]) == (200, False, ["NET_BIND_SERVICE"])
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}
    labels = {"team": "travel", POOL: name, UID: uid_of(instance), INSTALLATION: system.installation}
    assert labels.items() <= config["Labels"].items()
    assert shown["NetworkSettings"]["Ports"].keys() == {"9000/tcp", "8080/tcp"}
    assert shown["NetworkSettings"]["Ports"]["8080/tcp"] is None


def test_without_any_options_a_container_is_as_confined_as_an_agent_allows(system: DockerSystem, name: str) -> None:
    system.pool(name)
    (instance,) = system.warm(name)
    shown = system.inspect(instance)
    host = shown["HostConfig"]
    assert (host["ReadonlyRootfs"], host["Privileged"], host["Init"]) == (True, False, True)
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], [])
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["PidsLimit"], host["Memory"], host["NanoCpus"]) == (1024, 0, 0)
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["NetworkMode"] in {"bridge", "default"}
    ports = shown["NetworkSettings"]["Ports"]
    assert [(port, [each["HostIp"] for each in published]) for port, published in ports.items()] == [
        ("8080/tcp", ["127.0.0.1"])
    ]
    assert instance["status"]["url"] == f"http://127.0.0.1:{ports['8080/tcp'][0]['HostPort']}"
    # Not what the engine was told, but what the agent's processes find.
    inside = system.run_inside(instance, "id -u; touch /x; touch /tmp/x /data/x && echo written; cat /proc/self/status")
    lines = inside.splitlines()
    assert lines[0] == "10001"
    assert "Read-only file system" in lines[1]
    assert lines[2] == "written"
    status = dict(line.split(":", 1) for line in lines[3:] if ":" in line)
    assert status["NoNewPrivs"].strip() == "1"
    assert {int(status[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}


@pytest.mark.parametrize(
    ("volume", "left"), [pytest.param({}, 0, id="delete"), pytest.param({"onDelete": "Retain"}, 1, id="retain")]
)
def test_a_volume_ends_with_its_instance_unless_it_is_to_be_retained(
    system: DockerSystem, name: str, volume: dict[str, str], left: int
) -> None:
    pool = system.pool(name, template={"volume": volume})
    (instance,) = system.warm(pool)
    (mount,) = system.inspect(instance)["Mounts"]
    (found,) = system.volumes(f"{UID}={uid_of(instance)}")
    assert (mount["Type"], mount["Name"], mount["Destination"]) == ("volume", found["Name"], "/data")
    assert found["Labels"][POOL] == pool
    system.claim(f"{name}-c", pool, instructions="Remember this.")
    system.bound(f"{name}-c")
    system.api.kubectl("delete", "agentclaim", f"{name}-c", "--timeout=60s")
    system.gone("agentinstances", name_of(instance))
    assert system.containers(f"{UID}={uid_of(instance)}") == []
    kept = system.volumes(f"{UID}={uid_of(instance)}")
    assert len(kept) == left
    for each in kept:
        assert each["Labels"][ON_DELETE] == "Retain"
        # Only a person deletes it; the conversation is still in it.
        system.engine.delete(f"/volumes/{each['Name']}")


def test_an_anonymous_volume_goes_with_its_container(system: DockerSystem, name: str) -> None:
    pool = system.pool(name)
    (instance,) = system.warm(pool)
    (mount,) = system.inspect(instance)["Mounts"]
    assert mount["Destination"] == "/data"
    system.api.kubectl("delete", "agentpool", pool, "--timeout=60s")
    eventually(lambda: system.left_of(uid_of(instance)) == [])
    volumes = system.engine.get("/volumes")["Volumes"] or []
    assert mount["Name"] not in {each["Name"] for each in volumes}


def test_the_value_of_a_secret_is_in_the_container_and_nowhere_else(system: DockerSystem, name: str) -> None:
    secret = "hunter2-correct-horse"
    system.api.create_secret(name, key=secret)
    reference = {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": name, "key": "key"}}}
    pool = system.pool(name, template={"env": [reference, {"name": "MODE", "value": "plain"}]})
    (instance,) = system.warm(pool)
    shown = system.inspect(instance)
    assert {f"API_KEY={secret}", "MODE=plain"} <= set(shown["Config"]["Env"])
    assert system.run_inside(instance, 'echo "$API_KEY"').strip() == secret
    system.bound(system.claim(f"{name}-c", pool))
    # Its Event is written off the path.
    eventually(lambda: system.api.events(f"{name}-c"))
    told = [
        *(json.dumps(system.api.all(plural)) for plural in (*KINDS, "events", "configmaps")),
        system.command.output,
        system.command.metrics(),
        json.dumps(shown["Config"]["Labels"]),
        json.dumps(system.containers()),
        json.dumps(system.volumes()),
        system.log_of(instance),
    ]
    assert not any(secret in text or system.token(instance) in text for text in told)
