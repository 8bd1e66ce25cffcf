"""The parts of the suite of faults by themselves: what a request is, which rule strikes, what the table says."""

import json
from datetime import date

import pytest

from tests.faults.asked import Asked, asked
from tests.faults.catalogue import FAULTS
from tests.faults.deaths import STEPS
from tests.faults.effects import lose
from tests.faults.report import Outcome, Report
from tests.faults.rules import Rule, step, writes

OURS = "/apis/agentpool.dev/v1alpha1/namespaces/n"


def request(method: str, path: str, body: object = None, **query: str) -> Asked:
    return asked("operator0", method, path, query, json.dumps(body).encode() if body is not None else b"")


@pytest.mark.parametrize(
    ("method", "path", "body", "verb", "words"),
    [
        ("GET", f"{OURS}/agentclaims", None, "list", "list agentclaims"),
        ("GET", "/api/v1/namespaces/n/secrets/s", None, "get", "get secret"),
        ("POST", f"{OURS}/agentinstances", {"spec": {}}, "create", "create instance"),
        ("PATCH", f"{OURS}/agentinstances/i", {"spec": {"claimRef": {"uid": "u"}}}, "patch", "bind"),
        ("PATCH", f"{OURS}/agentinstances/i", {"metadata": {"finalizers": None}}, "patch", "let instance go"),
        ("PATCH", f"{OURS}/agentclaims/c", {"metadata": {"finalizers": ["x"]}}, "patch", "hold claim"),
        ("PATCH", f"{OURS}/agentclaims/c", {"metadata": {"finalizers": []}}, "patch", "let claim go"),
        ("PATCH", f"{OURS}/agentclaims/c/status", {"status": {"phase": "Bound"}}, "patch", "claim becomes Bound"),
        ("PATCH", f"{OURS}/agentpools/p/status", {"status": {"idle": 1}}, "patch", "status of pool"),
        ("DELETE", f"{OURS}/agentinstances/i", {"preconditions": {}}, "delete", "delete instance"),
    ],
)
def test_a_request_is_named_by_the_step_of_a_life_that_it_is(
    method: str, path: str, body: object, verb: str, words: str
) -> None:
    found = request(method, path, body)
    assert (found.verb, found.step, found.namespace) == (verb, words, "n")


def test_a_watch_is_told_from_a_list_and_a_subresource_from_its_object() -> None:
    assert request("GET", f"{OURS}/agentpools", watch="true").verb == "watch"
    found = request("PATCH", f"{OURS}/agentpools/p/status", {})
    assert (found.group, found.resource, found.name, found.subresource) == (
        "agentpool.dev",
        "agentpools",
        "p",
        "status",
    )


def test_a_lease_is_written_but_is_no_news() -> None:
    lease = request("PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/agentpool", {})
    assert lease.writes
    assert not lease.is_news


def test_a_rule_passes_the_first_ones_and_strikes_as_often_as_it_shall() -> None:
    rule = Rule(step("create instance"), lose(), times=2, after=1)
    birth, other = request("POST", f"{OURS}/agentinstances", {}), request("GET", f"{OURS}/agentclaims")
    assert [rule.takes(each) for each in (other, birth, birth, other, birth, birth)] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert not writes(other)


def test_the_table_has_a_row_for_each_fault_and_names_the_seeds_that_failed() -> None:
    first, second = FAULTS[:2]
    report = Report()
    for server, seed, well in (("standalone", 1, True), ("genuine", 1, True), ("genuine", 2, False)):
        day = date(2026, 11, 27)
        report.add(Outcome(server=server, fault=second.name, seed=seed, well=well, seconds=1.0, day=day))
    rows = [line for line in report.page(FAULTS).splitlines() if line.startswith("| ")]
    assert len(rows) == len(FAULTS) + 2
    assert f"**{first.name}**" in rows[2]
    assert rows[2].endswith("| 0 | 0 | not run |")
    assert rows[3].endswith("| 1 | 2 | FAILED with seed 2 (genuine) |")
    assert report.failed == 1


def test_every_fault_has_a_name_of_its_own_and_the_operator_is_killed_before_and_after_every_step() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
    assert {f"killed {when}: {what}" for what in STEPS for when in ("before", "after")} <= set(names)
    assert all(fault.sentence and "|" not in fault.sentence for fault in FAULTS)
