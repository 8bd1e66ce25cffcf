"""What every folder of tests may use."""

import gc
import os

pytest_plugins = ["tests.docker.plugin", "tests.postgres.plugin"]


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for each core: most of the time each of them waits for processes, probes and leases."""
    return 3 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """Let no garbage collection walk all tests and their modules again and again: they stay to the end."""
    gc.collect()
    gc.freeze()
