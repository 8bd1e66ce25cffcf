"""A plugin of pytest for ``make test``: files that take long begin first, so that none is left for the end."""

import pytest

LONG = (
    "tests/simulation/test_simulation.py",
    "tests/e2e/test_controller_death.py",
    "tests/demo/test_demo.py",
    "tests/ha/test_two_operators.py",
    "tests/contract/backend/test_contract.py",
    "tests/faults/test_faults.py",
    "tests/e2e_ledger/test_ledger.py",
    "tests/commands/test_instance_logs.py",
    "tests/e2e_docker/test_engine_trouble.py",
    "tests/docker/test_bake.py",
    "tests/contract/backend/test_railway_faults.py",
    "tests/e2e_docker/test_trouble.py",
    "tests/e2e_docker/test_main_job.py",
    "tests/contract/backend/test_docker_ambiguity.py",
    "tests/contract/backend/test_docker_containers.py",
    "tests/e2e_railway/test_changes.py",
    "tests/e2e/test_trouble.py",
    "tests/e2e_docker/test_warm_strategy.py",
    "tests/agent_commands/test_trouble.py",
    "tests/contract/backend/test_process_trouble.py",
    "tests/ledger/test_kills.py",
    "tests/ledger/test_outages.py",
    "tests/e2e_docker/test_options.py",
    "tests/e2e_railway/test_main_job.py",
    "tests/e2e/test_main_job.py",
)
"""Files of more than a few per cent of the whole, the longest first."""
_RANKS = {path: rank for rank, path in enumerate(LONG)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file; within a file, and among all that are not long, nothing changes."""
    items.sort(key=lambda item: rank(item.nodeid))


def rank(nodeid: str) -> int:
    """The place of a test's file."""
    return _RANKS.get(nodeid.partition("::")[0], len(LONG))
