"""What every folder of tests may use."""

import os

pytest_plugins = ["tests.docker.plugin", "tests.postgres.plugin"]


def pytest_xdist_auto_num_workers() -> int:
    """Two workers for each core: most of the time each of them waits for processes, probes and leases."""
    return 2 * (os.cpu_count() or 1)
