"""agentpool image bake: the pool that it takes from the API server."""

from collections.abc import Iterator

import pytest

from tests.commands.terminal import Terminal
from tests.e2e.system import System, unique


@pytest.fixture
def pool(system: System) -> Iterator[str]:
    """A pool of images, whose registry wants credentials."""
    docker = {"imagePullSecret": {"name": "registry"}}
    name = system.pool(unique("bake"), backend={"docker": docker}, template={"image": "x:1"}, minIdle=0, maxTotal=1)
    yield name
    system.remove(name)


def test_a_pool_that_does_not_exist_is_told_with_where_to_look(system: System, terminal: Terminal) -> None:
    done = terminal.run("image", "bake", "nobody", "-n", system.api.namespace, "--tag", "golden")

    assert done.code == 1
    assert f"there is no AgentPool nobody in namespace {system.api.namespace}" in done.said


def test_credentials_that_are_missing_are_named(system: System, pool: str, terminal: Terminal) -> None:
    words = ("image", "bake", pool, "-n", system.api.namespace, "--tag", "golden")
    missing = terminal.run(*words)
    system.api.create_secret("registry", password="x")
    other = terminal.run(*words)
    system.api.delete("secrets", "registry")

    assert f"Secret registry does not exist in namespace {system.api.namespace}: create it" in missing.said
    assert "Secret registry has no key .dockerconfigjson" in other.said
    assert (missing.code, other.code) == (1, 1)
