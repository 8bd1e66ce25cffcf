"""Commands that do not work: the pool says why, stops trying, and is mended by a change of the template."""

import sys

import pytest

from tests.e2e import host
from tests.e2e.api import condition
from tests.e2e.system import GATEWAY, System, uid_of
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster

PAGE = ["sh", "-c", f'exec "{sys.executable}" -m http.server --bind 127.0.0.1 "$PORT"']


@pytest.mark.parametrize(
    ("command", "deadline", "reason", "message"),
    [
        pytest.param(["no-such-program"], 60, "CommandNotFound", "no-such-program", id="that does not exist"),
        pytest.param(["sh", "-c", "echo no luck; exit 3"], 60, "Exited", "exited with code 3", id="that exits at once"),
        pytest.param(["sleep", "3600"], 1, "StartupDeadlineExceeded", "not ready within 1 s", id="that never listens"),
        pytest.param(PAGE, 1, "StartupDeadlineExceeded", "not ready within 1 s", id="that answers with pages"),
    ],
)
def test_a_command_is_launched_as_often_as_the_circuit_breaker_allows(
    system: System, name: str, command: list[str], deadline: int, reason: str, message: str
) -> None:
    before = system.api.version("agentinstances")
    system.pool(
        name,
        template={"command": command},
        startup={"deadlineSeconds": deadline, "probeIntervalMilliseconds": 100},
        circuitBreaker={"failures": 2, "openSeconds": 3600},
    )
    assert message in system.pool_says(name, "Degraded", "True/CircuitOpen")
    eventually(lambda: system.instances(name) == [], lambda: system.describe(name))
    eventually(lambda: any(event["reason"] == "CircuitOpen" for event in system.api.events(name)))
    # A claim is a reason to launch, and so would have been a way around the breaker.
    system.claim_says(system.claim(f"{name}-c", name), "False/Queued")

    events = [obj for _, obj in system.api.history("agentinstances", before) if obj["spec"]["pool"] == name]
    crashed = [obj for obj in events if obj.get("status", {}).get("phase") == "Crashed"]
    made = {uid_of(obj) for obj in events}
    assert len(made) == 2
    assert {uid_of(obj) for obj in crashed} == made
    assert {condition(obj, "Ready")["reason"] for obj in crashed} == {reason}
    assert not any(host.processes_of(system.instances_root, uid) for uid in made)


def test_after_each_pause_one_instance_is_launched_and_a_mended_template_warms_the_pool(
    system: System, name: str
) -> None:
    before = system.api.version("agentinstances")
    breaker = {"failures": 1, "openSeconds": 1}
    system.pool(name, minIdle=2, template={"command": ["false"]}, circuitBreaker=breaker)

    def failures() -> int:
        return int(system.get_pool(name).get("status", {}).get("circuitBreaker", {}).get("failures", 0))

    eventually(lambda: failures() >= 4, lambda: system.describe(name))
    # Two at once before the first has failed, then one at a time; failures are counted last, so as not to lag.
    assert len(system.launches(name, before)) <= failures() + 1
    launched = len(system.launches(name, before))
    system.change(name, template=GATEWAY)
    system.warm(name, 2)
    # One more may have failed before the change was seen; the new template begins with a closed circuit.
    assert len(system.launches(name, before)) <= launched + 1 + 2
    assert failures() == 0
