"""The whole program with a ledger, on the API servers of ``tests/e2e``: the standalone one, and with
``AGENTPOOL_TEST_KUBECONFIG`` a genuine one.
"""

from tests.e2e.conftest import _tools, launch, server

__all__ = ["_tools", "launch", "server"]
