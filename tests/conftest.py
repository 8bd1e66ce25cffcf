"""What every folder of tests may use."""

import gc
import os
from pathlib import Path

pytest_plugins = ["tests.docker.plugin", "tests.postgres.plugin"]


# Before anything asks over TLS: no peer in a test is known to the authorities of this host, and each client that is
# made would read them all anew, which takes longer than most tests. A Docker engine is given what there was before.
os.environ.setdefault("AGENTPOOL_TEST_AUTHORITIES", os.environ.get("SSL_CERT_FILE", ""))
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "e2e" / "nobody.pem")


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for each core: most of the time each of them waits for processes, probes and leases."""
    return 3 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """Collect garbage as the operator does: all tests and their modules stay to the end, and are not to be walked."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
