"""Parts of the standalone server that can be told right from wrong without a server."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.standalone import fieldsets, patches, tables
from controller.standalone.rules import compile_rules

DURATIONS = {
    0: "0s",
    119: "119s",
    120: "2m",
    150: "2m30s",
    599: "9m59s",
    600: "10m",
    10_799: "179m",
    10_800: "3h",
    12_000: "3h20m",
    28_800: "8h",
    172_800: "2d",
    180_000: "2d2h",
    691_200: "8d",
    63_072_000: "2y",
    64_000_000: "2y10d",
    252_288_000: "8y",
}


@pytest.mark.parametrize(("seconds", "shown"), DURATIONS.items())
def test_an_age_is_short(seconds: int, shown: str) -> None:
    assert tables.human_duration(seconds) == shown


def test_an_age_counts_from_any_zone() -> None:
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert tables.age("2026-01-01T12:59:30+01:00", now) == "30s"
    assert tables.age(None) == "<unknown>"
    assert tables.age("soon") == "<invalid>"


PATHS = {
    ".a.b": [1],
    ".list[0].n": ["x"],
    ".list[*].n": ["x", "y"],
    '.list[?(@.n=="y")].v': [2],
    ".list[?(@.v!=2)].n": ["x"],
    "{.a.b}": [1],
    ".a['dotted.name']": [3],
    ".a.dotted\\.name": [3],
    ".missing.b": [],
    ".list[7]": [],
}


@pytest.mark.parametrize(("path", "found"), PATHS.items())
def test_a_json_path_finds(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1, "dotted.name": 3}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}
    assert tables.find(obj, path) == found


RULES = {
    "quantity(self.q).isGreaterThan(quantity('500Mi'))": True,
    "quantity(self.q).compareTo(quantity('1024Mi')) == 0": True,
    "isQuantity('10 apples')": False,
    "isURL('https://example.org/x') && !isURL('not a url')": True,
    "url('https://example.org:8080/x').getHostname() == 'example.org'": True,
    "self.l.sum() == 6 && self.l.max() == 3 && self.l.isSorted()": True,
    "self.s.lowerAscii().split(',') == ['a', 'b']": True,
    "self.s.find('[A-Z]') == 'A'": True,
    "self.?missing.orValue('x') == 'x'": True,
    "has(self.missing)": False,
    "self.l.exists_one(x, x == 2) && self.l.all(x, x > 0)": True,
    "self.s.matches('^A,B$') && size(self.l) == 3": True,
    "self.ratio < 1.0": True,
    "self.due > timestamp('2026-01-01T00:00:00Z')": True,
    "!has(self.due) || self.due.getFullYear() == 2026": True,
}
RULE_SCHEMA = {
    "type": "object",
    "properties": {"due": {"type": "string", "format": "date-time"}, "ratio": {"type": "number"}},
}


@pytest.mark.parametrize(("rule", "holds"), RULES.items())
def test_a_rule_may_use_what_kubernetes_adds_to_cel(rule: str, holds: bool) -> None:
    rules = compile_rules({**RULE_SCHEMA, "x-kubernetes-validations": [{"rule": rule}]}, root=False)
    assert rules is not None
    value = {"q": "1Gi", "l": [1, 2, 3], "s": "A,B", "ratio": 0, "due": "2026-06-01T00:00:00+02:00"}
    causes = [cause.message for cause in rules.breaches(value)]
    assert causes == ([] if holds else [f"Invalid value: failed rule: {rule}"])


def test_a_rule_may_ask_whether_there_was_an_old_value() -> None:
    rule = {
        "rule": "!oldSelf.hasValue() || self >= oldSelf.value()",
        "optionalOldSelf": True,
        "message": "no shrinking",
    }
    rules = compile_rules({"type": "integer", "x-kubernetes-validations": [rule]}, root=False)
    assert rules is not None
    assert list(rules.breaches(5)) == []
    assert list(rules.breaches(6, 5)) == []
    assert [cause.message for cause in rules.breaches(4, 5)] == ["Invalid value: 4: no shrinking"]


Json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
Objects = st.dictionaries(st.text("abc", min_size=1, max_size=2), Json, max_size=4)


@given(Objects, Objects)
def test_a_merge_patch_is_idempotent_and_leaves_its_input_alone(value: dict[str, Any], patch: dict[str, Any]) -> None:
    before = repr(value)
    once = patches.json_merge(value, patch)
    assert patches.json_merge(once, patch) == once
    assert repr(value) == before


@given(Objects, Objects)
def test_what_a_comparison_finds_explains_the_difference(old: dict[str, Any], new: dict[str, Any]) -> None:
    changed, removed = fieldsets.compare(old, new, {})
    assert fieldsets.compare(new, new, {}) == ({}, {})
    for name in new.keys() - old.keys():
        assert f"f:{name}" in changed
    for name in old.keys() - new.keys():
        assert f"f:{name}" in removed


@given(Objects, Objects)
def test_field_sets_obey_the_laws_of_sets(one: dict[str, Any], two: dict[str, Any]) -> None:
    left, right = (fieldsets.fields_of(obj, {}, containers=True) for obj in (one, two))
    if not left or not right:
        return
    both, either = fieldsets.intersection(left, right), fieldsets.union(left, right)
    assert fieldsets.difference(left, either) == {}
    assert fieldsets.union(left, left) == left
    assert fieldsets.intersection(left, right) == fieldsets.intersection(right, left)
    rest = fieldsets.difference(left, right)
    if rest:
        assert fieldsets.intersection(rest, right) == {}
        assert (fieldsets.union(rest, both) if both else rest) == left
