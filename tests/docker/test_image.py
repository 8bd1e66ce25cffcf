"""The agent's image, as an engine runs it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docker import image
from tests.docker.api import Engine
from tests.docker.conftest import TOKEN, Container, until

New = Callable[..., Container]

STRICT: dict[str, Any] = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "Tmpfs": {"/tmp": "mode=1777", "/data": "uid=10001,gid=10001,mode=0700"},
}
"""All that can be forbidden: only /data and /tmp may be written."""


def provision(container: Container) -> dict[str, Any]:
    container.ready()
    status, answer = container.ask("POST", "/pool/provision", {"agentName": "Tokyo", "instructions": "Plan trips."})
    assert status == 200, answer
    told: dict[str, Any] = answer
    return told


@pytest.mark.parametrize("host", [{}, STRICT, {"Init": True}], ids=["as it is", "all forbidden", "with --init"])
def test_an_instance_is_provisioned_over_its_published_port(
    host: dict[str, Any], agent_image: str, new_container: New
) -> None:
    answer = provision(new_container(agent_image, **host))
    assert answer["ok"] is True
    assert answer["conversationId"]


@pytest.mark.parametrize("host", [{}, STRICT, {"Init": True}], ids=["as it is", "all forbidden", "with --init"])
def test_sigterm_ends_an_instance_in_order(host: dict[str, Any], agent_image: str, new_container: New) -> None:
    container = new_container(agent_image, **host)
    provision(container)
    assert container.stop() == 0, container.log
    # Nothing but the agent's own lines: tini has nothing to warn of.
    assert [line for line in container.log.splitlines() if not re.match(r"\d{4}-\d\d-\d\dT\S+ info ", line)] == []


def test_docker_calls_a_ready_instance_healthy(agent_image: str, new_container: New) -> None:
    # The image's own check, only sooner.
    container = new_container(agent_image, configuration={"Healthcheck": {"Interval": 10**9}})
    until(lambda: container.state["Health"]["Status"] != "starting", "the first health check that counts")
    assert container.state["Health"]["Status"] == "healthy"
    assert container.state["Health"]["Log"][-1]["Output"] == "ready\n"


def test_the_health_check_says_why_an_instance_is_not_ready(agent_image: str, new_container: New) -> None:
    container = new_container(agent_image)
    container.ready()
    check = "python -m agent.healthcheck"
    assert container.run("sh", "-c", check) == (0, "ready\n")
    assert container.run("sh", "-c", f"PORT=1 {check}") == (
        1,
        "nothing answers on port 1: ConnectionRefusedError\n",
    )
    assert container.run("sh", "-c", f"PORT=http {check}") == (1, "PORT='http' is not a port\n")


def test_the_agent_is_not_root_and_owns_its_data_only(agent_image: str, new_container: New) -> None:
    container = new_container(agent_image)
    container.ready()
    assert container.run("id")[1].startswith("uid=10001(agent) gid=10001(agent)")
    assert container.run("touch", "/data/file", "/tmp/file")[0] == 0
    for place in ("/file", "/opt/agentpool/file", "/opt/agentpool/agent/__init__.py", "/etc/passwd"):
        status, output = container.run("touch", place)
        assert (status, "Permission denied" in output) == (1, True), place


def test_a_new_volume_belongs_to_the_agent(agent_image: str, new_container: New) -> None:
    container = new_container(agent_image, Mounts=[{"Type": "volume", "Target": "/data"}], ReadonlyRootfs=True)
    container.ready()
    assert "agent agent" in container.run("ls", "-ld", "/data")[1]


@pytest.mark.parametrize("command", ["request-agent", "release-agent", "heartbeat"])
def test_commands_for_the_agent_are_on_its_path(command: str, agent_image: str, new_container: New) -> None:
    container = new_container(agent_image, **STRICT)
    status, output = container.run(command, "--help")
    assert (status, output.split()[:2]) == (0, ["usage:", command])
    words = [command] if command == "heartbeat" else [command, "cfo"]
    assert container.run(*words) == (
        2,
        f"{command}: POOL_URL not set: this agent was started without an operator to ask.\n",
    )


def test_what_stands_in_the_working_directory_is_never_run(agent_image: str, new_container: New) -> None:
    # An agent writes files there, and python -m looks there first unless told otherwise.
    container = new_container(agent_image)
    container.ready()
    for name in ("agent", "json"):
        container.run("sh", "-c", f"mkdir /data/{name}; echo 'print(\"taken over\")' >/data/{name}/__init__.py")
    for command in ("heartbeat", "python -m agent.healthcheck"):
        assert "taken over" not in container.run("sh", "-c", f"cd /data; {command}")[1]


@pytest.mark.parametrize("init", [False, True], ids=["tini first", "with --init"])
def test_the_first_process_reaps_what_others_leave_behind(init: bool, agent_image: str, new_container: New) -> None:
    container = new_container(agent_image, Init=init)
    container.ready()
    code = (
        "import subprocess, sys; "
        "command = [sys.executable, '-S', '-c', 'import sys; sys.stdin.read()']; "
        "print(subprocess.Popen(command, stdin=subprocess.PIPE).pid)"
    )
    status, output = container.run("python", "-S", "-c", code)
    orphan = output.strip()
    assert (status, orphan.isdecimal()) == (0, True), output
    until(lambda: container.run("ls", f"/proc/{orphan}")[0] != 0, "the orphan is gone, not a zombie")


def test_the_image_holds_no_secret_and_tells_what_it_is(agent_image: str, docker_engine: Engine) -> None:
    told = docker_engine.get(f"/images/{agent_image}/json")
    history = docker_engine.get(f"/images/{agent_image}/history")
    variables = dict(entry.split("=", 1) for entry in told["Config"]["Env"])
    assert not [name for name in variables if re.search(r"TOKEN|KEY|SECRET|PASSWORD|PROXY|INDEX", name, re.IGNORECASE)]
    assert TOKEN not in f"{told} {history}"
    assert told["Config"]["User"] == "10001:10001"
    assert told["Config"]["Labels"]["org.opencontainers.image.title"] == "agentpool agent"
    expected = {"PORT": "8080", "AGENT_BIND": "0.0.0.0", "OPENCLAW_STATE_DIR": "/data", "AGENT_GATEWAY": "loopback"}
    assert {name: variables[name] for name in expected} == expected


def test_a_change_of_the_code_builds_one_layer_anew(agent_image: str, docker_engine: Engine, tmp_path: Path) -> None:
    shutil.copytree(image.AGENT, tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "agent" / "server.py").open("a") as source:
        source.write(f"# changed in {tmp_path}\n")
    changed = image.agent_image(docker_engine, tmp_path / "agent")
    try:
        before, after = (docker_engine.get(f"/images/{tag}/json")["RootFS"]["Layers"] for tag in (agent_image, changed))
        assert (len(before), before[:-1]) == (len(after), after[:-1])
        assert before[-1] != after[-1]
    finally:
        docker_engine.delete(f"/images/{changed}", force="1")


def test_nothing_but_code_is_in_the_image_of_code(agent_image: str, new_container: New) -> None:
    container = new_container(agent_image)
    listed = container.run("ls", "-A", "/opt/agentpool/agent")[1].split()
    assert not {"Dockerfile", ".dockerignore", "README.md", "requirements.in"} & set(listed)
    assert "server.py" in listed
