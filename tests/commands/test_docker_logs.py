"""agentpool logs of instances that are containers."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.terminal import Terminal
from tests.e2e.system import System, name_of, set_up, unique
from tests.e2e.waiting import eventually


@pytest.fixture(scope="module")
def docker_system(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """An operator with the docker backend."""
    folder = tmp_path_factory.mktemp("docker")
    system = set_up("standalone", folder, None, AGENTPOOL_BACKENDS="docker", DOCKER_HOST=docker_host)
    yield system
    try:
        system.remove("")
        eventually(lambda: not system.api.all("agentinstances"))
        system.command.check_output()
    finally:
        system.erase()


@pytest.fixture(scope="module")
def claimed(docker_system: System, agent_image: str) -> str:
    """A claim with its agent, in a pool of its own."""
    template = {"image": agent_image}
    pool = docker_system.pool(unique("logs"), backend={"docker": {}}, template=template, minIdle=0)
    claim = docker_system.claim(unique("claim"), pool)
    docker_system.bound(claim)
    return claim


@pytest.fixture
def shell(docker_system: System, docker_host: str, tmp_path: Path) -> Iterator[Terminal]:
    shell = Terminal(tmp_path, KUBECONFIG=str(docker_system.api.kubeconfig), DOCKER_HOST=docker_host)
    yield shell
    for process in shell.started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def test_the_logs_of_a_container_are_shown(docker_system: System, claimed: str, shell: Terminal) -> None:
    namespace = docker_system.api.namespace
    whole = shell.run("logs", "--claim", claimed, "-n", namespace)
    name = name_of(docker_system.instance_of(claimed))
    last = shell.run("logs", name, "--tail", "1", "-n", namespace)

    assert (whole.code, whole.said) == (0, "")
    assert b"serving" in whole.out
    assert last.out == whole.out.splitlines(keepends=True)[-1]


def test_following_a_container_goes_on_until_a_person_ends_it(
    docker_system: System, claimed: str, shell: Terminal
) -> None:
    following = shell.start("logs", "-f", "--claim", claimed, "-n", docker_system.api.namespace)
    assert following.stdout is not None
    assert following.stdout.readline()
    following.send_signal(signal.SIGINT)
    done = shell.end_of(following)

    assert (done.code, done.said) == (-signal.SIGINT, "")


def test_a_closed_pipe_ends_following_a_container(docker_system: System, claimed: str, shell: Terminal) -> None:
    following = shell.start("logs", "-f", "--claim", claimed, "-n", docker_system.api.namespace)
    assert following.stdout is not None
    following.stdout.readline()
    following.stdout.close()
    assert following.stderr is not None

    assert following.wait(60) == 128 + signal.SIGPIPE
    assert following.stderr.read() == b""


def test_an_engine_that_is_away_is_one_sentence(
    docker_system: System, claimed: str, shell: Terminal, tmp_path: Path
) -> None:
    namespace = docker_system.api.namespace
    done = shell.run("logs", "--claim", claimed, "-n", namespace, DOCKER_HOST=f"unix://{tmp_path}/none")

    assert (done.code, done.out) == (1, b"")
    assert done.said == (
        f"agentpool: the Docker engine at unix://{tmp_path}/none does not answer: start it, or set DOCKER_HOST\n"
    )


def test_following_ends_when_the_claim_is_given_back(docker_system: System, agent_image: str, shell: Terminal) -> None:
    template = {"image": agent_image}
    pool = docker_system.pool(unique("logs"), backend={"docker": {}}, template=template, minIdle=0)
    claim = docker_system.claim(unique("claim"), pool)
    docker_system.bound(claim)
    following = shell.start("logs", "-f", "--claim", claim, "-n", docker_system.api.namespace)
    assert following.stdout is not None
    following.stdout.readline()
    docker_system.remove(claim, pool)
    done = shell.end_of(following)

    assert (done.code, done.said) == (0, "")
    assert b"ended" in done.out.splitlines()[-1]
