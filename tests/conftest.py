"""What every folder of tests may use."""

import gc
import os

pytest_plugins = ["tests.docker.plugin", "tests.postgres.plugin"]


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for each core: most of the time each of them waits for processes, probes and leases."""
    return 3 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """Collect garbage as the operator does: all tests and their modules stay to the end, and are not to be walked."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
