"""What Railway is told to make of an order."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.backends.railway.names import CONFIG
from controller.backends.railway.patch import drift_of, patch_of, prints_of, source_of, variables_of
from controller.backends.railway.shapes import ServiceConfig
from controller.errors import Refused
from controller.model import BackendSpec, Template
from controller.ports import LaunchOrder

OPTIONS = {
    "projectId": "project-1",
    "environmentId": "environment-1",
    "tokenSecretRef": {"name": "railway", "key": "token"},
}
IMAGE = {"image": "ghcr.io/acme/agent:1"}


def order(
    template: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
    pull_secret: str | None = None,
    **options: Any,
) -> LaunchOrder:
    return LaunchOrder(
        uid="uid-1",
        name="pool-x",
        namespace="agents",
        pool="pool",
        backend=BackendSpec.model_validate({"railway": OPTIONS | options}),
        template=Template.model_validate(IMAGE if template is None else template),
        env=env or {"OPENCLAW_GATEWAY_TOKEN": "s3cret"},
        pull_secret=pull_secret,
    )


def service_of(an_order: LaunchOrder) -> dict[str, Any]:
    patch = patch_of(an_order, "service-1", variables_of(an_order, "installation-1"))
    service: dict[str, Any] = patch["services"]["service-1"]
    return service


def shown(an_order: LaunchOrder) -> dict[str, Any]:
    """The configuration as Railway shows it afterwards."""
    service = service_of(an_order)
    return {"source": dict(service["source"]), "variables": dict(service["variables"])}


def test_all_variables_are_in_the_one_patch() -> None:
    variables = service_of(order(env={"KEY": "value", "EMPTY": "", "LINES": "a\nb"}))["variables"]

    assert variables["KEY"] == {"value": "value"}
    assert variables["EMPTY"] == {"value": ""}
    assert variables["PORT"] == {"value": "8080"}
    assert variables["OPENCLAW_STATE_DIR"] == {"value": "/data"}
    assert variables["AGENTPOOL_LABEL_INSTALLATION"] == {"value": "installation-1"}
    assert variables["AGENTPOOL_LABEL_ENVIRONMENT"] == {"value": "environment-1"}
    assert variables["AGENTPOOL_LABEL_INSTANCE"] == {"value": "uid-1"}


def test_nothing_is_null_since_null_means_to_unset() -> None:
    assert "null" not in json.dumps(service_of(order()))


def test_an_image_is_taken_by_its_digest() -> None:
    image = "ghcr.io/acme/agent@sha256:" + "a" * 64
    assert service_of(order({"image": image}))["source"] == {"image": image}


def test_a_repository_is_built_from_its_branch_and_folder_and_no_later_commit_deploys_again() -> None:
    git = {"repo": "acme/agents", "branch": "staging", "rootDirectory": "agent", "dockerfilePath": "Dockerfile.prod"}
    service = service_of(order({"git": git}))

    assert service["source"] == {"repo": "acme/agents", "branch": "staging", "rootDirectory": "agent"}
    assert service["build"]["dockerfilePath"] == "Dockerfile.prod"
    assert service["build"]["watchPatterns"] == ["/.agentpool/never-changed"]


def test_options_and_limits_become_settings() -> None:
    an_order = order(
        IMAGE | {"command": ["run", "it's"], "resources": {"cpu": "500m", "memory": "512Mi"}},
        region="europe-west4",
        sleepApplication=True,
        healthcheckPath="/pool/health",
        restartPolicy="OnFailure",
        terminationGraceSeconds=7,
    )

    assert service_of(an_order)["deploy"] == {
        "restartPolicyType": "ON_FAILURE",
        "sleepApplication": True,
        "drainingSeconds": 7,
        "startCommand": "run 'it'\"'\"'s'",
        "healthcheckPath": "/pool/health",
        "multiRegionConfig": {"europe-west4": {"numReplicas": 1}},
        "limitOverride": {"containers": {"cpu": 0.5, "memoryBytes": 536870912}},
    }


def test_a_volume_can_be_written_to_and_says_what_is_to_become_of_it() -> None:
    service = service_of(order(IMAGE | {"volume": {"onDelete": "Retain"}}))

    assert service["variables"]["AGENTPOOL_LABEL_VOLUME"] == {"value": "Retain"}
    assert service["variables"]["RAILWAY_RUN_UID"] == {"value": "0"}


def test_who_says_as_which_user_a_volume_is_used_is_believed() -> None:
    service = service_of(order(IMAGE | {"volume": {}}, env={"RAILWAY_RUN_UID": "10001"}))
    assert service["variables"]["RAILWAY_RUN_UID"] == {"value": "10001"}


def test_credentials_for_the_registry_are_handed_on() -> None:
    login = base64.b64encode(b"ada:pass").decode()
    secret = json.dumps({"auths": {"ghcr.io": {"auth": login}}})
    assert service_of(order(pull_secret=secret))["deploy"]["registryCredentials"] == {
        "username": "ada",
        "password": "pass",
    }


def test_credentials_of_another_kind_are_refused_with_the_remedy() -> None:
    secret = json.dumps({"auths": {"ghcr.io": {"identitytoken": "t0ken"}}})
    with pytest.raises(Refused, match="only a user and a password") as caught:
        service_of(order(pull_secret=secret))
    assert "t0ken" not in str(caught.value)


def test_a_template_without_a_source_is_refused() -> None:
    with pytest.raises(Refused, match=r"template\.image or template\.git"):
        source_of(Template())


def test_a_value_that_no_program_can_get_is_refused_by_its_name() -> None:
    with pytest.raises(Refused, match="'KEY'"):
        variables_of(order(env={"KEY": "a\0b"}), "installation-1")


VALUES = st.dictionaries(
    st.text(alphabet="ABCDEFG_", min_size=1, max_size=8),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
)


@given(VALUES)
def test_what_was_made_has_not_drifted(env: dict[str, str]) -> None:
    assert drift_of(ServiceConfig.model_validate(shown(order(env=env)))) == ""


def test_what_railway_adds_by_itself_is_no_drift() -> None:
    config = shown(order({"git": {"repo": "acme/agents"}}))
    config["variables"]["RAILWAY_PUBLIC_DOMAIN"] = {"value": "x.up.railway.app"}
    config["source"]["commitSha"] = "f" * 40

    assert drift_of(ServiceConfig.model_validate(config)) == ""


def test_drift_is_told_by_the_names_and_never_by_the_values() -> None:
    config = shown(order(env={"KEPT": "1", "CHANGED": "old", "GONE": "x"}))
    config["variables"]["CHANGED"] = {"value": "hunter2"}
    config["variables"]["ADDED"] = {"value": "hunter2"}
    del config["variables"]["GONE"]
    config["source"] = {"image": "ghcr.io/acme/agent:2"}

    told = drift_of(ServiceConfig.model_validate(config))
    assert told == "at Railway somebody changed variables ADDED, CHANGED, GONE and the source"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {CONFIG: {"value": "no json"}},
        {CONFIG: {"value": "[]"}},
        {CONFIG: {"value": "[" * 5000}},
        {"KEY": {"value": None}},
    ],
    ids=["nothing is shown", "damaged", "something else", "nested deeper than anybody reads", "hidden"],
)
def test_what_cannot_be_told_is_no_drift(content: dict[str, Any]) -> None:
    assert drift_of(ServiceConfig.model_validate({"variables": content})) == ""


def test_a_sealed_variable_is_not_taken_for_a_changed_one() -> None:
    config = shown(order(env={"KEY": "value"}))
    config["variables"]["KEY"] = {"value": None}

    assert drift_of(ServiceConfig.model_validate(config)) == ""


def test_fingerprints_show_no_value() -> None:
    assert "hunter2" not in json.dumps(prints_of({"KEY": "hunter2"}, {"image": "x"}))
