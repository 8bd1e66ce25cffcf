"""/healthz, /readyz, /metrics and the log."""

from functools import partial

import pytest

from tests.e2e.system import GATEWAY, System
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.cluster

METRICS = {
    "agentpool_api_requests_total",
    "agentpool_watch_events_total",
    "agentpool_view_repairs_total",
    "agentpool_passes_total",
    "agentpool_actions_total",
    "agentpool_queue_depth",
    "agentpool_claim_bind_seconds",
    "agentpool_claims_ended_total",
    "agentpool_instance_start_seconds",
    "agentpool_instances_crashed_total",
    "agentpool_pool_instances",
    "agentpool_pool_min_idle",
    "agentpool_pool_max_total",
    "agentpool_pool_waiting_claims",
    "agentpool_pool_circuit_open",
    "agentpool_backend_available",
    "agentpool_orphans_ended_total",
}


def exposes(system: System, line: str) -> bool:
    return line in system.command.metrics().splitlines()


def test_metrics_expose_the_documented_names_with_help(system: System) -> None:
    lines = system.command.metrics().splitlines()
    described = {line.split()[2] for line in lines if line.startswith("# HELP agentpool_") and len(line.split()) > 3}
    assert described >= METRICS


def test_metrics_tell_what_a_pool_has_and_forget_it_with_the_pool(system: System, name: str) -> None:
    system.pool(name, minIdle=1, maxTotal=4, template=GATEWAY)
    claim = system.claim(f"{name}-c", name, agentName="Confidential")
    system.bound(claim)
    system.warm(name)
    labels = f'namespace="{system.api.namespace}",pool="{name}"'
    expected = (
        f'agentpool_pool_instances{{{labels},state="idle"}} 1.0',
        f'agentpool_pool_instances{{{labels},state="claimed"}} 1.0',
        f"agentpool_pool_min_idle{{{labels}}} 1.0",
        f"agentpool_pool_max_total{{{labels}}} 4.0",
        f"agentpool_claim_bind_seconds_count{{{labels}}} 1.0",
        'agentpool_backend_available{backend="process"} 1.0',
    )
    for line in expected:
        eventually(partial(exposes, system, line), system.command.metrics)
    assert "Confidential" not in system.command.metrics()
    assert claim not in system.command.metrics()
    system.api.kubectl("delete", "agentpool", name)
    gauges = f"agentpool_pool_min_idle{{{labels}}}", f"agentpool_pool_instances{{{labels}"
    eventually(lambda: not any(gauge in system.command.metrics() for gauge in gauges), system.command.metrics)


def test_health_and_readiness_answer(system: System) -> None:
    health = system.command.get("/healthz")
    assert health is not None
    assert (health.status_code, health.text) == (200, "ok\n")
    assert system.command.readiness() == (200, "ok")
