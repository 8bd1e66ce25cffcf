"""One API server and one Postgres for all runs. ``servers.py`` says which API server it is."""

import shutil
from collections.abc import Iterator

import pytest

from tests.faults.run import World
from tests.faults.servers import serving


@pytest.fixture(scope="session")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """What all runs share."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed: it installs the CRDs")
    folder = tmp_path_factory.mktemp("faults")
    with serving(folder) as server:
        yield World(server, postgres_url, folder)
