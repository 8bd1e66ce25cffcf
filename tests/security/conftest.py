"""Who may do what, and what nobody is told, on the API servers of ``tests/e2e``: the standalone one, and with
``AGENTPOOL_TEST_KUBECONFIG`` a genuine one.
"""

from tests.e2e.conftest import _tools, server
from tests.e2e.test_trouble import api_server

__all__ = ["_tools", "api_server", "server"]
