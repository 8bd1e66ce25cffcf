"""The API servers of the suites that run on the standalone one, and on a genuine one when a kubeconfig names it."""

import os

import pytest

GENUINE = "AGENTPOOL_TEST_KUBECONFIG"
SERVERS = [
    "standalone",
    # A mark, so that what the standalone one serves goes on from file to file: a fixture that skips ends it first.
    pytest.param(
        "genuine",
        marks=pytest.mark.skipif(
            not os.environ.get(GENUINE), reason=f"no genuine API server: {GENUINE} names no kubeconfig"
        ),
    ),
]
