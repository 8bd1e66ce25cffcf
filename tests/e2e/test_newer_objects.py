"""What a newer version has written cannot be read by an older one, which must not take it for gone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.api import CRDS, MERGE
from tests.e2e.conftest import Launch
from tests.e2e.system import GATEWAY, System, name_of, names
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster


@contextmanager
def newer_definitions(system: System) -> Iterator[None]:
    """The CRDs of a version that knows one strategy more."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/rollout/properties/strategy/enum/-"
    patch = f'[{{"op": "add", "path": "{path}", "value": "Canary"}}]'
    system.api.kubectl("patch", "crd", "agentpools.agentpool.dev", "--type=json", "--patch", patch)
    try:
        yield
    finally:
        system.api.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))


def is_changed(system: System) -> bool:
    """Whether the API server takes it: it needs a moment to know of new definitions."""
    change = '{"spec": {"rollout": {"strategy": "Canary"}}}'
    path = system.api.path("agentpools", "p")
    return system.api.http.patch(path, content=change, headers={"Content-Type": MERGE}).status_code == 200


def test_the_agents_of_a_pool_that_only_a_newer_version_can_read_live_on(launch: Launch) -> None:
    system = launch()
    system.pool("p", template=GATEWAY)
    system.warm("p")
    system.claim("c", "p")
    system.bound("c")
    system.warm("p")
    served, families = name_of(system.instance_of("c")), system.families()
    before = names(system.instances("p"))
    with newer_definitions(system):
        eventually(lambda: is_changed(system))
    system.command.kill()
    system.command.start()
    system.command.wait_ready()
    eventually(lambda: f"AgentPool {system.api.namespace}/p does not fit" in system.command.output)
    # Whoever takes the pool for gone deletes them in its first pass; this one looks after them.
    assert names(system.instances("p")) == before
    assert system.families() == families
    system.api.delete("agentclaims", "c")
    system.gone("agentinstances", served)
    assert names(system.instances("p")) == before - {served}
