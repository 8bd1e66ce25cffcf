"""The operator asks for what its Roles allow, and its Roles allow nothing that it does not ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from controller.__main__ import cli
from tests.e2e.api import Api
from tests.e2e.commands import Command, run_to_end
from tests.e2e.system import System, create_namespace, unique
from tests.e2e.waiting import eventually
from tests.security.auditor import Auditor
from tests.security.grants import grants

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

STATUSES = ("agentpools/status", "agentclaims/status", "agentinstances/status")


@pytest.fixture
def own(api_server: Path) -> Iterator[Api]:
    """The operator's namespace, which is none that it serves."""
    api = Api(api_server, unique("own"))
    create_namespace(api)
    yield api
    for plural in ("secrets", "configmaps"):
        for item in api.all(plural):
            api.delete(plural, item["metadata"]["name"])
    api.http.close()


@pytest.fixture
def auditor(api_server: Path, own: Api, tmp_path: Path) -> Iterator[tuple[Auditor, Api]]:
    """The auditor, with the Roles that the command prints, and the namespace that is served."""
    api = Api(api_server, unique("served"))
    create_namespace(api)
    printed = CliRunner().invoke(
        cli, ["rbac", "--namespace", api.namespace, "--operator-namespace", own.namespace], catch_exceptions=False
    )
    auditor = Auditor(api, tmp_path, grants(yaml.safe_load_all(printed.stdout), "agentpool", own.namespace))
    auditor.open()
    yield auditor, api
    auditor.close()
    api.http.close()


@pytest.fixture
def system(
    server: tuple[str, Path | None], auditor: tuple[Auditor, Api], own: Api, tmp_path: Path, database_url: str
) -> Iterator[System]:
    """An operator that reaches the API server by way of the auditor only."""
    audit, api = auditor
    where = (
        "--namespace",
        api.namespace,
        "--operator-namespace",
        own.namespace,
        "--state-dir",
        str(tmp_path / "state"),
    )
    state = ("--state-dir", str(tmp_path / "state"))
    # With a ledger, since it is for its sake that claims have finalizers.
    env = {
        "AGENTPOOL_BACKENDS": "process",
        "AGENTPOOL_ORPHAN_GRACE_SECONDS": "2",
        "AGENTPOOL_DATABASE_URL": database_url,
        "AGENTPOOL_LEDGER_MIGRATE_AT_START": "true",
    }
    command = Command("run", "--kubeconfig", str(audit.kubeconfig), *where, *state, log=tmp_path / "log", **env)
    system = System(server[0], api, command, tmp_path / "state" / "instances", own.namespace)
    yield system
    system.erase()


def test_a_whole_life_needs_every_right_that_the_roles_give_and_no_other(
    system: System, auditor: tuple[Auditor, Api]
) -> None:
    audit, api = auditor
    api.create_secret("model", key="sk-1")
    api.create_secret("persona", text="Be brief.")
    api.create("configmaps", "persona", data={"text": "Be kind."})
    for status in STATUSES:
        audit.dispute(status)
    system.command.start()
    system.command.wait_ready()
    variable = {"name": "MODEL_KEY", "valueFrom": {"secretKeyRef": {"name": "model", "key": "key"}}}
    system.pool("p", minIdle=2, template={"env": [variable]})
    system.warm("p", 2)
    system.claim("a", "p", instructionsFrom={"configMapKeyRef": {"name": "persona", "key": "text"}})
    system.claim("b", "p", instructionsFrom={"secretKeyRef": {"name": "persona", "key": "text"}})
    system.bound("a")
    system.bound("b")
    eventually(lambda: api.events("a") and api.events("b"))
    eventually(lambda: ("patch", "secrets") in {(asked.verb, asked.resource) for asked in audit.allowed})
    system.remove("a", "b", "p")
    eventually(lambda: not any(api.all(kind) for kind in ("agentclaims", "agentinstances", "agentpools")))
    assert system.command.stop() == 0
    system.command.check_output()
    assert audit.refused == set()
    assert audit.unused == set()


def test_what_the_roles_do_not_allow_is_refused_with_a_sentence(auditor: tuple[Auditor, Api]) -> None:
    audit, _ = auditor
    code, said = run_to_end("logs", "nobody", "--kubeconfig", str(audit.kubeconfig), "--namespace", "elsewhere")
    assert code == 1
    assert "you lack the right to get agentinstances in namespace elsewhere" in said
    assert {(asked.namespace, asked.verb, asked.resource) for asked in audit.refused} == {
        ("elsewhere", "get", "agentinstances")
    }
