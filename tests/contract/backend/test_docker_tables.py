"""The pure parts of the docker backend: configurations, names, credentials, ports, the words of exits."""

import base64
import json
from typing import Any

import pytest
from aiodocker import DockerError
from hypothesis import given
from hypothesis import strategies as st

from controller.backends.docker.address import Address
from controller.backends.docker.configuration import (
    check_reachable,
    container_configuration,
    nano_cpus,
)
from controller.backends.docker.containers import Container, read_container, url_of
from controller.backends.docker.credentials import credentials_for
from controller.backends.docker.engine import Engine
from controller.backends.docker.errors import sort, sort_pull
from controller.backends.docker.exits import Exits, sentence
from controller.backends.docker.names import LENGTH, creation_name, display_names
from controller.backends.pull_secrets import registry_of
from controller.errors import AgentpoolError, Missing, Refused, Transient
from controller.model import BackendSpec, DockerBackend, Template
from controller.model.quantities import memory_bytes, memory_text
from controller.ports import LaunchOrder, RemoteState

LOCAL = Address("unix:///var/run/docker.sock", socket="/var/run/docker.sock")
REMOTE = Address("tcp://docker.example:2376", host="docker.example", port=2376)
ID = "0123456789abcdef" * 4


def order(docker: dict[str, Any] | None = None, env: dict[str, str] | None = None, **template: Any) -> LaunchOrder:
    return LaunchOrder(
        uid="u-1",
        name="pool-x",
        namespace="prod",
        pool="pool",
        backend=BackendSpec.model_validate({"docker": docker or {}}),
        template=Template.model_validate({"image": "agent:1", **template}),
        env=env or {},
    )


def at(configuration: Any, path: str) -> Any:
    for name in path.split("."):
        configuration = configuration.get(name) if isinstance(configuration, dict) else configuration[int(name)]
    return configuration


@pytest.mark.parametrize(
    ("given_order", "path", "expected"),
    [
        (order(), "Image", "agent:1"),
        (order(), "Entrypoint", None),
        (order(command=["sh", "-c", "x"]), "Entrypoint", ["sh", "-c", "x"]),
        (order(), "HostConfig.PortBindings", {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}),
        (
            order({"publishAddress": "0.0.0.0"}, port=9000),
            "HostConfig.PortBindings",
            {"9000/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]},
        ),
        (order(port=9000), "ExposedPorts", {"9000/tcp": {}}),
        (order(), "Healthcheck", {"Test": ["NONE"]}),
        (order(), "HostConfig.PidsLimit", 1024),
        (order(resources={"pids": 77}), "HostConfig.PidsLimit", 77),
        (order(), "HostConfig.Memory", None),
        (order(resources={"memory": "1Gi"}), "HostConfig.Memory", 1 << 30),
        (order(resources={"memory": "1Gi"}), "HostConfig.MemorySwap", 1 << 30),
        (order(resources={"cpu": "250m"}), "HostConfig.NanoCpus", 250_000_000),
        (order(), "HostConfig.RestartPolicy", {"Name": "no"}),
        (order(), "HostConfig.Init", True),
        (order({"init": False}), "HostConfig.Init", False),
        (order(), "HostConfig.ReadonlyRootfs", True),
        (order(), "HostConfig.Tmpfs", {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}),
        (order(stateDir="/tmp"), "HostConfig.Tmpfs", {}),
        (order({"readOnlyRootFilesystem": False}), "HostConfig.Tmpfs", None),
        (order({"readOnlyRootFilesystem": False}), "HostConfig.ReadonlyRootfs", False),
        (order(), "HostConfig.CapDrop", ["ALL"]),
        (order({"addCapabilities": ["CHOWN"]}), "HostConfig.CapAdd", ["CHOWN"]),
        (order(), "HostConfig.SecurityOpt", ["no-new-privileges:true"]),
        (order(), "HostConfig.LogConfig.Config", {"max-size": "10m", "max-file": "3"}),
        (order({"network": "agents"}), "HostConfig.NetworkMode", "agents"),
        (order(), "HostConfig.Mounts.0.Target", "/data"),
        (order(), "HostConfig.Mounts.0.Source", None),
        (order(volume={}), "HostConfig.Mounts.0.Source", "agentpool-u-1"),
        (order(env={"A": "b=c\nd"}), "Env.0", "A=b=c\nd"),
    ],
)
def test_an_order_becomes_a_configuration(given_order: LaunchOrder, path: str, expected: Any) -> None:
    assert at(container_configuration(given_order, "inst"), path) == expected


def test_what_only_the_backend_knows_cannot_be_overridden() -> None:
    forged = {"PORT": "1", "AGENT_BIND": "127.0.0.1", "OPENCLAW_STATE_DIR": "/etc"}
    env = container_configuration(order(env=forged), "inst")["Env"]

    assert sorted(env) == ["AGENT_BIND=0.0.0.0", "OPENCLAW_STATE_DIR=/data", "PORT=8080"]


def test_labels_of_agentpool_lead_and_secrets_are_in_none() -> None:
    docker = {"labels": {"agentpool.dev/installation": "forged", "agentpool.dev/on-delete": "Retain", "team": "red"}}
    made = container_configuration(order(docker, {"KEY": "very-secret"}, volume={"onDelete": "Delete"}), "inst")

    assert made["Labels"]["agentpool.dev/installation"] == "inst"
    assert "agentpool.dev/on-delete" not in made["Labels"]
    assert made["Labels"]["team"] == "red"
    assert len(made["Labels"]["agentpool.dev/template-hash"]) == 10
    labels = made["HostConfig"]["Mounts"][0]["VolumeOptions"]["Labels"]
    assert labels == made["Labels"] | {"agentpool.dev/on-delete": "Delete"}
    assert "very-secret" not in json.dumps({key: value for key, value in made.items() if key != "Env"})


def test_a_nul_in_a_variable_is_refused_by_its_name_alone() -> None:
    with pytest.raises(Refused, match="'KEY'") as caught:
        container_configuration(order(env={"KEY": "very\0secret"}), "inst")
    assert "very" not in str(caught.value)


@pytest.mark.parametrize(
    ("cpu", "expected"), [("500m", 500_000_000), ("1", 10**9), ("0.5", 500_000_000), ("1500m", 1_500_000_000)]
)
def test_processor_time_is_understood(cpu: str, expected: int) -> None:
    assert nano_cpus(cpu) == expected


@given(st.integers(1, 10**15))
def test_memory_reads_back_as_it_is_written(size: int) -> None:
    assert memory_bytes(memory_text(size)) == size


@pytest.mark.parametrize("network", ["none", "host"])
def test_a_network_without_ports_is_refused(network: str) -> None:
    with pytest.raises(Refused, match="publishes no ports"):
        check_reachable(DockerBackend(network=network), LOCAL)


@pytest.mark.parametrize(
    ("address", "publish", "fine"),
    [
        (LOCAL, "127.0.0.1", True),
        (Address("tcp://127.0.0.1:1", host="127.0.0.1", port=1), "127.0.0.1", True),
        (Address("tcp://localhost:1", host="localhost", port=1), "::1", True),
        (REMOTE, "127.0.0.1", False),
        (REMOTE, "::1", False),
        (REMOTE, "0.0.0.0", True),
        (REMOTE, "192.0.2.1", True),
    ],
)
def test_a_loopback_address_of_another_host_is_refused(address: Address, publish: str, fine: bool) -> None:
    options = DockerBackend(publish_address=publish)
    if fine:
        check_reachable(options, address)
        return
    with pytest.raises(Refused, match=r"set backend\.docker\.publishAddress") as caught:
        check_reachable(options, address)
    assert caught.value.reason == "PublishAddressUnreachable"


@pytest.mark.parametrize(
    ("published", "address", "url"),
    [
        (("127.0.0.1", 1), LOCAL, "http://127.0.0.1:1"),
        (("0.0.0.0", 1), LOCAL, "http://127.0.0.1:1"),
        (("::", 1), LOCAL, "http://127.0.0.1:1"),
        (("::1", 1), LOCAL, "http://[::1]:1"),
        (("192.0.2.1", 1), LOCAL, "http://192.0.2.1:1"),
        (("0.0.0.0", 1), REMOTE, "http://docker.example:1"),
        (("192.0.2.1", 1), REMOTE, "http://192.0.2.1:1"),
        (("127.0.0.1", 1), REMOTE, None),
        (("0.0.0.0", 1), Address("tcp://[2001:db8::1]:1", host="2001:db8::1", port=1), "http://[2001:db8::1]:1"),
    ],
)
def test_a_published_port_is_reached_where_the_engine_is(
    published: tuple[str, int], address: Address, url: str | None
) -> None:
    assert url_of(published, address) == url


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("running", RemoteState.RUNNING),
        ("restarting", RemoteState.RUNNING),
        ("paused", RemoteState.PAUSED),
        ("exited", RemoteState.EXITED),
        ("dead", RemoteState.EXITED),
        ("removing", RemoteState.EXITED),
        ("created", RemoteState.EXITED),
    ],
)
def test_a_line_of_the_engine_s_list_is_read(state: str, expected: RemoteState) -> None:
    container = read_container(
        {
            "Id": ID,
            "Names": ["/other/alias", "/agentpool-u-1"],
            "Labels": {"agentpool.dev/instance-uid": "u-1"},
            "State": state,
            "Status": "Exited (3) 5 minutes ago",
            "Created": 5,
            "Ports": [
                {"PrivatePort": 1, "Type": "tcp"},
                {"IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": 49153, "Type": "tcp"},
                {"IP": "::", "PrivatePort": 8080, "PublicPort": 49153, "Type": "tcp"},
            ],
        }
    )
    assert container == Container(ID, "u-1", "agentpool-u-1", state, 5, ("0.0.0.0", 49153), 3)
    assert container.remote(LOCAL).state is expected
    assert container.remote(LOCAL).anonymous
    assert container.ran == (state != "created")


@pytest.mark.parametrize(
    ("pool", "agent_name", "expected"),
    [
        ("support", "Ada Lovelace", "support-ada-lovelace-012345"),
        ("support", "../../etc/passwd", "support-etc-passwd-012345"),
        ("support", "🐪🐪", "support-012345"),
        ("", "", "agent-012345"),
        ("Größe", "Élan_2.0", "groe-elan_2.0-012345"),
        ("p" * 80, "x", "p" * 56 + "-012345"),
    ],
)
def test_a_name_is_recognised_by_a_person(pool: str, agent_name: str, expected: str) -> None:
    assert display_names(pool, agent_name, ID)[0] == expected


@given(st.text(), st.text())
def test_a_name_is_always_one_that_the_engine_takes(pool: str, agent_name: str) -> None:
    names = display_names(pool, agent_name, ID)

    assert len(set(names)) == 3
    for name in names:
        assert 2 < len(name) <= LENGTH
        assert name[0].isascii()
        assert name[0].isalnum()
        assert all(letter.isascii() and (letter.isalnum() or letter in "_.-") for letter in name)
        assert name == name.lower()
        assert name != creation_name("u-1")


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("agent", "docker.io"),
        ("team/agent:1", "docker.io"),
        ("index.docker.io/team/agent", "docker.io"),
        ("localhost/agent", "localhost"),
        ("127.0.0.1:5000/agent:1", "127.0.0.1:5000"),
        ("ghcr.io/team/agent@sha256:0", "ghcr.io"),
    ],
)
def test_the_registry_of_an_image_is_found(image: str, registry: str) -> None:
    assert registry_of(image) == registry


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("image", "auths", "user"),
    [
        ("agent:1", {"https://index.docker.io/v1/": auth("hub", "p")}, "hub"),
        ("ghcr.io/team/agent", {"ghcr.io": auth("all", "p"), "ghcr.io/team": auth("team", "p:q")}, "team"),
        ("ghcr.io/teams/agent", {"ghcr.io": auth("all", "p"), "ghcr.io/team": auth("team", "p")}, "all"),
        ("a.example/agent", {"*.example": auth("any", "p")}, "any"),
        ("r.example:5000/agent:1", {"https://r.example:5000/v2/": {"username": "plain", "password": "p"}}, "plain"),
        ("r.example/agent", {"r.example:5000": auth("other", "p")}, None),
        ("r.example/agent", {}, None),
    ],
)
def test_credentials_are_found_by_registry(image: str, auths: dict[str, Any], user: str | None) -> None:
    header = credentials_for(image, json.dumps({"auths": auths}))
    found = json.loads(base64.urlsafe_b64decode(header))["username"] if header is not None else None

    assert found == user


def test_a_token_is_passed_on() -> None:
    header = credentials_for("r.example/a", json.dumps({"auths": {"r.example": {"identitytoken": "t"}}}))

    assert header is not None
    assert json.loads(base64.urlsafe_b64decode(header)) == {"identitytoken": "t", "serveraddress": "r.example"}


@pytest.mark.parametrize(
    "secret",
    [
        "very-secret",
        "[]",
        '{"auths": "very-secret"}',
        '{"auths": {"r.example": "very-secret"}}',
        '{"auths": {"r.example": {"auth": "very-secret"}}}',
        '{"auths": {"r.example": {"auth": "dmVyeS1zZWNyZXQ="}}}',
        '{"auths": {"r.example": {"username": "very-secret"}}}',
    ],
)
def test_a_secret_that_is_none_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(Refused, match="imagePullSecret") as caught:
        credentials_for("r.example/agent", secret)
    assert caught.value.reason == "InvalidPullSecret"
    assert "very" not in str(caught.value)
    assert "dmVy" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "memory", "expected"),
    [
        ({"ExitCode": 3}, 0, "exited with code 3"),
        ({"ExitCode": 0}, 0, "exited with code 0"),
        ({"ExitCode": 137}, 0, "was killed by SIGKILL"),
        ({"ExitCode": 143}, 0, "was killed by SIGTERM"),
        ({"ExitCode": 255}, 0, "exited with code 255"),
        ({"ExitCode": 137, "OOMKilled": True}, 512 << 20, "exceeded its memory limit of 512Mi and was killed"),
        (
            {"ExitCode": 1, "OOMKilled": True},
            512 << 20,
            "exited with code 1, after one of its processes had exceeded its memory limit of 512Mi and was killed",
        ),
        ({"ExitCode": 128, "Error": "no\n shim"}, 0, "exited with code 128: no shim"),
    ],
)
def test_an_exit_is_a_sentence(state: dict[str, Any], memory: int, expected: str) -> None:
    assert sentence(state, memory) == expected


class Inspected(Engine):
    """An engine that knows one container, and more of it at each look."""

    def __init__(self, memory: int, *states: dict[str, Any]) -> None:
        self.looks = [{"State": state, "HostConfig": {"Memory": memory}} for state in states]

    async def get(self, path: str, **params: str) -> Any:
        return self.looks.pop(0)

    def stream(self, *_: Any, **__: Any) -> Any:
        raise DockerError(404, "it has written nothing")


KILLED, OOM = {"ExitCode": 137}, {"ExitCode": 137, "OOMKilled": True}


@pytest.mark.parametrize(
    ("memory", "states", "expected"),
    [
        (48 << 20, [KILLED, OOM], "exceeded its memory limit of 48Mi and was killed"),
        (48 << 20, [KILLED, KILLED], "was killed by SIGKILL"),
        (48 << 20, [OOM], "exceeded its memory limit of 48Mi and was killed"),
        (0, [KILLED], "was killed by SIGKILL"),
        (48 << 20, [{"ExitCode": 1}], "exited with code 1"),
    ],
    ids=["told late", "never told", "told at once", "no limit", "not killed"],
)
async def test_whoever_was_killed_under_a_limit_is_looked_at_twice(
    memory: int, states: list[dict[str, Any]], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.backends.docker.exits.OOM_SECONDS", 0)
    engine = Inspected(memory, *states)
    assert await Exits(engine).explain(Container(ID, "u-1", "x", "exited", 0, exit_code=137)) == expected
    assert engine.looks == []


@pytest.mark.parametrize(
    ("status", "message", "kind", "reason"),
    [
        (500, "mkdir /var/lib/docker/x: no space left on device", Refused, "EngineDiskFull"),
        (400, "Minimum memory limit allowed is 6MB", Refused, "MemoryTooLow"),
        (400, "invalid CapAdd: unknown capability", Refused, "InvalidContainer"),
        (404, "network agents not found", Refused, "NetworkNotFound"),
        (500, "Bind for 127.0.0.1:32768 failed: port is already allocated", Transient, ""),
        (500, "id already in use", Refused, "EngineLostContainer"),
        (500, "failed to start shim: mkdir /run/moby/0f: file exists: unknown", Refused, "EngineLostContainer"),
        (500, "something else", Transient, ""),
        (503, "not yet", Transient, ""),
        (409, "removal of container x is already in progress", Transient, ""),
        (404, "No such container: x", Missing, ""),
    ],
)
def test_answers_of_the_engine_are_sorted(status: int, message: str, kind: type[AgentpoolError], reason: str) -> None:
    error = sort(DockerError(status, message))

    assert type(error) is kind
    assert not isinstance(error, Refused) or error.reason == reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("manifest for agent:1 not found: manifest unknown: manifest unknown", "ImageNotFound"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "ImageNotFound"),
        ("pull access denied for agent, repository does not exist or may require 'docker login'", "ImagePullDenied"),
        ("unauthorized: authentication required", "ImagePullDenied"),
        ("invalid reference format", "InvalidImageReference"),
        ("write /var/lib/docker/tmp/x: no space left on device", "EngineDiskFull"),
        ("dial tcp: lookup registry.example: no such host", "RegistryUnreachable"),
        ("net/http: request canceled while waiting for connection", "RegistryUnreachable"),
        ("toomanyrequests: You have reached your pull rate limit", "RegistryUnreachable"),
    ],
)
def test_what_a_registry_says_is_sorted(message: str, reason: str) -> None:
    error = sort_pull(DockerError(500, message), "agent:1")

    assert isinstance(error, Refused)
    assert error.reason == reason
