"""What the manifest of the operator says about several replicas."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.settings import Settings

MANIFESTS = Path(__file__).parents[2] / "manifests" / "operator"


def documents(kind: str) -> list[dict[str, Any]]:
    found = [each for path in MANIFESTS.glob("*.yaml") for each in yaml.safe_load_all(path.read_text())]
    return [each for each in found if each["kind"] == kind]


def deployment() -> dict[str, Any]:
    (found,) = documents("Deployment")
    return found


def test_there_is_a_standby_and_a_roll_out_never_takes_the_last_one_that_is_ready() -> None:
    spec = deployment()["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_the_roles_let_it_make_one_lease_and_keep_it_and_nothing_more() -> None:
    rules = [rule for role in documents("Role") for rule in role["rules"] if "leases" in rule["resources"]]
    assert {verb: rule.get("resourceNames") for rule in rules for verb in rule["verbs"]} == {
        "create": None,
        "get": [Settings().lease_name],
        "update": [Settings().lease_name],
    }


def test_a_stop_has_more_time_than_giving_the_lease_up_takes() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > Settings().lease_duration_seconds


@pytest.mark.parametrize(
    ("duration", "margin", "renew", "fits"),
    [(8, 2.0, 2.0, True), (8, 2.0, 3.0, True), (8, 2.0, 3.1, False), (4, 2.0, 2.0, False), (2, 3.0, 0.1, False)],
)
def test_a_lease_that_leaves_no_time_for_a_second_try_is_refused(
    duration: int, margin: float, renew: float, fits: bool
) -> None:
    def build() -> Settings:
        return Settings(lease_duration_seconds=duration, lease_margin_seconds=margin, lease_renew_seconds=renew)

    if fits:
        build()
        return
    with pytest.raises(ValueError, match="raise lease_duration_seconds"):
        build()
