"""The judge of the audit: it reads requests and Roles as a genuine API server does."""

import pytest
import yaml
from click.testing import CliRunner

from controller.__main__ import cli
from controller.kube.permissions import require
from controller.kube.roles import main
from tests.security.grants import Asked, Grant, asked_by, grants

PODS = "/api/v1/namespaces/a/pods"
POOLS = "/apis/agentpool.dev/v1alpha1/namespaces/a/agentpools"


@pytest.mark.parametrize(
    ("method", "path", "watch", "asked"),
    [
        ("GET", PODS, False, Asked("a", "", "pods", "list")),
        ("GET", PODS, True, Asked("a", "", "pods", "watch")),
        ("GET", f"{PODS}/x", False, Asked("a", "", "pods", "get", "x")),
        ("POST", PODS, False, Asked("a", "", "pods", "create")),
        ("PUT", f"{PODS}/x", False, Asked("a", "", "pods", "update", "x")),
        ("DELETE", f"{PODS}/x", False, Asked("a", "", "pods", "delete", "x")),
        ("DELETE", PODS, False, Asked("a", "", "pods", "deletecollection")),
        ("PATCH", f"{POOLS}/x/status", False, Asked("a", "agentpool.dev", "agentpools/status", "patch", "x")),
        ("GET", "/apis/agentpool.dev/v1alpha1/agentpools", False, Asked("", "agentpool.dev", "agentpools", "list")),
        ("GET", "/api/v1/namespaces", False, Asked("", "", "namespaces", "list")),
        ("GET", "/api/v1/namespaces/a", False, Asked("", "", "namespaces", "get", "a")),
        ("GET", "/apis/agentpool.dev/v1alpha1", False, None),
        ("GET", "/version", False, None),
    ],
)
def test_a_request_asks_for(method: str, path: str, watch: bool, asked: Asked | None) -> None:
    assert asked_by(method, path, watch=watch) == asked


@pytest.mark.parametrize(
    ("grant", "allowed"),
    [
        (Grant("a", "", "secrets", "get"), True),
        (Grant("a", "", "secrets", "get", "x"), True),
        (Grant("", "", "secrets", "get"), True),
        (Grant("a", "", "secrets", "get", "y"), False),
        (Grant("b", "", "secrets", "get"), False),
        (Grant("a", "", "secrets", "list"), False),
        (Grant("a", "apps", "secrets", "get"), False),
        (Grant("a", "", "secrets/status", "get"), False),
    ],
)
def test_a_grant_is_enough_for_what_it_names_only(grant: Grant, allowed: bool) -> None:
    assert grant.allows(Asked("a", "", "secrets", "get", "x")) is allowed


def printed(*arguments: str) -> set[Grant]:
    done = CliRunner().invoke(cli, ["rbac", "--operator-namespace", "ops", *arguments])
    assert done.exit_code == 0, done.output
    return grants(yaml.safe_load_all(done.stdout), "agentpool", "ops")


def test_each_namespace_that_is_served_has_its_own_role_and_the_operators_has_what_replicas_share() -> None:
    given = printed("--namespace", "a", "--namespace", "b")
    assert {grant.namespace for grant in given} == {"a", "b", "ops"}
    assert {grant.resource for grant in given if grant.namespace == "ops"} == {"leases", "secrets", "configmaps"}
    assert not [grant for grant in given if grant.resource == "leases" and grant.namespace != "ops"]


def test_only_for_all_namespaces_is_there_a_right_in_all_of_them() -> None:
    everywhere = {grant for grant in printed("--all-namespaces") if not grant.namespace}
    assert {(grant.resource, grant.verb) for grant in everywhere} == {
        (grant.resource, grant.verb) for grant in printed("--namespace", "a") if grant.namespace == "a"
    }


@pytest.mark.parametrize("resource", ["secrets", "configmaps"])
def test_nothing_that_holds_secrets_is_ever_listed_or_watched(resource: str) -> None:
    verbs = {grant.verb for grant in printed("--namespace", "a") if grant.resource == resource}
    assert verbs
    assert verbs <= {"get", "create", "patch"}


def test_a_call_that_is_not_declared_fails() -> None:
    require("get", "secrets")
    with pytest.raises(RuntimeError, match="list secrets is not declared"):
        require("list", "secrets")
    with pytest.raises(RuntimeError, match="patch agentpools/scale is not declared"):
        require("patch", "agentpools", "scale")


def test_a_role_that_is_not_as_generated_is_told_and_left_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    file, runner = tmp_path_factory.mktemp("manifests") / "role.yaml", CliRunner()
    assert runner.invoke(main, [str(file)]).exit_code == 0
    assert runner.invoke(main, ["--check", str(file)]).exit_code == 0
    file.write_text(file.read_text().replace("[get]", "['*']"))
    done = runner.invoke(main, ["--check", str(file)])
    sentence = "differs from what controller/kube/permissions.py says: run make rbac"
    assert (done.exit_code, done.stderr) == (1, f"{file} {sentence}\n")
    assert "['*']" in file.read_text()
