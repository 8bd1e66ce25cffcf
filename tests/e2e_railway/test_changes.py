"""What happens at Railway by itself, or by people's hands, and how soon the operator knows."""

import pytest

from tests.e2e.api import condition
from tests.e2e.system import name_of, uid_of
from tests.e2e.waiting import eventually
from tests.e2e_railway.conftest import Launch
from tests.e2e_railway.stage import RailwaySystem

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

SELDOM = {"intervalSeconds": 3600, "timeoutSeconds": 5}
WEBHOOK = "a-secret-of-sixteen-letters"


def test_a_changed_variable_replaces_an_idle_instance_and_is_a_condition_of_a_claimed_one(launch: Launch) -> None:
    system = launch(env={"RAILWAY_DRIFT_SECONDS": "2"})
    system.pool("p", minIdle=1, template={"image": "registry.example/agents/agent:1", "env": [_variable("KEY", "one")]})
    system.warm("p")
    system.bound(system.claim("c", "p"))
    claimed = system.instance_of("c")
    [idle] = system.warm("p")
    for instance in (idle, claimed):
        system.set_variable(system.service_of(instance), "KEY", "hunter2")

    system.gone("agentinstances", name_of(idle))
    [warm] = system.warm("p")
    assert uid_of(warm) != uid_of(idle)
    drifted = eventually(lambda: _drift(system, name_of(claimed)))
    assert drifted["status"] == "True"
    assert "KEY" in drifted["message"]
    assert system.get_claim("c")["status"]["phase"] == "Bound"

    system.set_variable(system.service_of(claimed), "KEY", "one")
    eventually(lambda: _drift(system, name_of(claimed)).get("status") == "False")
    written = str([system.api.all(plural) for plural in ("agentpools", "agentinstances", "agentclaims", "events")])
    assert "hunter2" not in written + system.command.output


def test_a_webhook_tells_at_once_what_a_slow_look_would_find_much_later(launch: Launch) -> None:
    system = launch(env={"AGENTPOOL_WEBHOOK_SECRET": WEBHOOK}, plan="Pro")
    system.twin.change_settings(webhooks=[f"http://127.0.0.1:{system.command.port}/webhooks/railway/{WEBHOOK}"])
    # The plan Free is read every three minutes at rest, which is more than this test waits for anything.
    system.pool("p", minIdle=1, backend=system.backend(plan="Free"), health=SELDOM)
    [instance] = system.warm("p")
    system.twin.kill(system.service_of(instance))

    system.gone("agentinstances", name_of(instance))
    assert WEBHOOK not in system.command.output


@pytest.mark.parametrize("held", [True, False], ids=["held until it listens", "answered as if it did not exist"])
def test_a_sleeper_stays_idle_is_not_woken_by_looks_and_is_claimed(launch: Launch, held: bool) -> None:
    system = launch(settings={"idle": 1.5, "waking_answers": held})
    way = system.backend(sleepApplication=True)
    system.pool("p", minIdle=1, backend=way, health={"intervalSeconds": 1, "timeoutSeconds": 5})
    [instance] = system.warm("p")
    service = system.service_of(instance)
    eventually(lambda: system.services()[service]["latest"]["status"] == "SLEEPING", system.services)
    before = system.twin.counts()["edge"]
    # Whatever looks there are come in this time: many health checks' worth of it.
    system.bound(system.claim("other", _second_pool(system)))
    assert system.twin.counts()["edge"].keys() >= before.keys()
    domain = system.services()[service]["domains"][0]
    assert system.twin.counts()["edge"].get(domain) == before.get(domain)
    assert name_of(system.idle("p")[0]) == name_of(instance)

    claim = system.bound(system.claim("c", "p"))
    assert claim["status"]["instance"] == name_of(instance)


def _second_pool(system: RailwaySystem) -> str:
    system.pool("q", minIdle=1)
    system.warm("q")
    return "q"


def _variable(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def _drift(system: RailwaySystem, instance: str) -> dict[str, str]:
    found: dict[str, str] = condition(system.api.get("agentinstances", instance), "Drifted")
    return found
