"""What a schema refuses, drops and fills in."""

from typing import Any

import pytest

from tests.cluster.conftest import Cluster, causes

VALUE, TYPE, LONG, MANY = "FieldValueInvalid", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany"
UNCHECKED = ("<nil>", VALUE)

REFUSED = {
    "required": ({}, {("spec.color", "FieldValueRequired"), UNCHECKED}),
    "null for a required field": ({"color": None}, {("spec.color", "FieldValueRequired"), UNCHECKED}),
    "enum": ({"color": "pink"}, {("spec.color", "FieldValueNotSupported"), UNCHECKED}),
    "minimum": ({"color": "red", "replicas": -1}, {("spec.replicas", VALUE), (".spec.replicas", VALUE)}),
    "maximum": ({"color": "red", "replicas": 101, "maxReplicas": 200}, {("spec.replicas", VALUE)}),
    "exclusive minimum": ({"color": "red", "ratio": 0}, {("spec.ratio", VALUE)}),
    "too short": ({"color": "red", "name": "a"}, {("spec.name", VALUE)}),
    "too long": ({"color": "red", "name": "abcdefghi"}, {("spec.name", LONG), UNCHECKED}),
    "pattern": ({"color": "red", "name": "ABC"}, {("spec.name", VALUE)}),
    "date-time": ({"color": "red", "due": "tomorrow"}, {("spec.due", TYPE), UNCHECKED}),
    "int32": ({"color": "red", "maxReplicas": 2**40}, {("<nil>", VALUE)}),
    "int or string": ({"color": "red", "port": 1.5}, {("spec.port", TYPE), UNCHECKED}),
    "string for an integer": ({"color": "red", "big": "1"}, {("spec.big", TYPE), UNCHECKED}),
    "integer for an object": ({"color": "red", "nested": 5}, {("spec.nested", TYPE), UNCHECKED}),
    "list for a map": ({"color": "red", "labels": ["a"]}, {("spec.labels", TYPE), UNCHECKED}),
    "value of a map": ({"color": "red", "labels": {"k": "toolong"}}, {("spec.labels.k", LONG), UNCHECKED}),
    "twice in a set": ({"color": "red", "tags": ["a", "a"]}, {("spec.tags[1]", "FieldValueDuplicate")}),
    "too many items": ({"color": "red", "tags": ["a", "b", "c", "d"]}, {("spec.tags", MANY), UNCHECKED}),
    "too few items": ({"color": "red", "atoms": []}, {("spec.atoms", VALUE)}),
    "twice in a keyed list": (
        {"color": "red", "parts": [{"name": "x"}, {"name": "x"}]},
        {("spec.parts[1]", "FieldValueDuplicate")},
    ),
    "key of a keyed list": (
        {"color": "red", "parts": [{"size": 1}]},
        {("spec.parts[0].name", "FieldValueRequired"), UNCHECKED},
    ),
    "rule with a field path and a reason": (
        {"color": "red", "replicas": 60},
        {("spec.replicas", "FieldValueForbidden")},
    ),
    "rule with a message expression": ({"color": "red", "replicas": 13}, {("spec", VALUE)}),
}


@pytest.mark.parametrize(("spec", "expected"), REFUSED.values(), ids=REFUSED.keys())
async def test_an_invalid_spec_is_refused_with_its_causes(
    cluster: Cluster, spec: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    answer = await cluster.send("POST", cluster.widgets, cluster.widget("a", spec))
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert causes(answer) == expected
    assert not await cluster.exists(f"{cluster.widgets}/a")


ACCEPTED = {
    "int or string: a number": {"port": 80},
    "int or string: a string": {"port": "http"},
    "a null where it may be": {"note": None},
    "a number without a fraction": {"ratio": 1},
    "unknown fields where they are kept": {"free": {"any": {"thing": [1, "a", None]}}},
    "a time with a zone": {"due": "2026-01-02T03:04:05.678+02:00"},
    "the largest int64": {"big": 2**63 - 1},
}


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_a_valid_value_is_stored_as_given(cluster: Cluster, spec: dict[str, Any]) -> None:
    created = await cluster.create("a", {"color": "red", **spec})
    assert {name: created["spec"][name] for name in spec} == spec


async def test_messages_say_what_kubernetes_says(cluster: Cluster) -> None:
    answer = await cluster.send("POST", cluster.widgets, cluster.widget("a", {"color": "red", "name": "A"}))
    assert answer.json()["message"] == (
        f'Widget.{cluster.group} "a" is invalid: '
        'spec.name: Invalid value: "A": spec.name in body should be at least 2 chars long'
    )
    answer = await cluster.send("POST", cluster.widgets, cluster.widget("a", {"color": "red", "replicas": 13}))
    assert answer.json()["message"] == f'Widget.{cluster.group} "a" is invalid: spec: Invalid value: unlucky for red'


async def test_a_rule_on_the_whole_object_sees_its_name(cluster: Cluster) -> None:
    answer = await cluster.send("POST", cluster.widgets, cluster.widget("forbidden-name"))
    assert answer.status_code == 422
    assert answer.json()["message"].endswith("<nil>: Invalid value: name may not start with forbidden")


async def test_a_transition_rule_guards_changes_but_not_the_first_value(cluster: Cluster) -> None:
    await cluster.create("a")
    await cluster.patched("a", {"spec": {"fixed": "one"}})
    answer = await cluster.patch("a", {"spec": {"fixed": "two"}})
    assert (answer.status_code, causes(answer)) == (422, {("spec.fixed", VALUE)})
    assert answer.json()["details"]["causes"][0]["message"] == 'Invalid value: "two": fixed is immutable'
    await cluster.patched("a", {"spec": {"color": "blue"}})


@pytest.mark.parametrize(
    ("strictness", "code", "warned"),
    [("Strict", 400, False), ("Warn", 201, True), ("Ignore", 201, False)],
    ids=["strict", "warn", "ignore"],
)
async def test_unknown_fields_are_dropped_as_the_client_wishes(
    cluster: Cluster, strictness: str, code: int, warned: bool
) -> None:
    body = cluster.widget("a", {"color": "red", "bogus": 1, "nested": {"zz": 1}})
    answer = await cluster.send("POST", cluster.widgets, body, fieldValidation=strictness)
    assert answer.status_code == code
    warnings = answer.headers.get_list("warning")
    assert ('299 - "unknown field \\"spec.bogus\\""' in warnings) is warned
    if code == 400:
        assert answer.json()["message"] == (
            'Widget in version "v1alpha1" cannot be handled as a Widget: strict decoding error: '
            'unknown field "spec.bogus", unknown field "spec.nested.zz"'
        )
    else:
        assert "bogus" not in answer.json()["spec"]
        assert answer.json()["spec"]["nested"] == {"depth": 3, "lit": False}


async def test_a_field_given_twice_is_refused_when_strict(cluster: Cluster) -> None:
    head = f'{{"apiVersion":"{cluster.api_version}","kind":"Widget","metadata":{{"name":"a"}},'
    body = (head + '"spec":{"color":"red","color":"blue"}}').encode()
    answer = await cluster.send("POST", cluster.widgets, body, fieldValidation="Strict")
    assert answer.status_code == 400
    assert 'duplicate field "spec.color"' in answer.json()["message"]


async def test_an_unknown_field_in_the_metadata_is_reported(cluster: Cluster) -> None:
    body = cluster.widget("a", foo=1)
    answer = await cluster.send("POST", cluster.widgets, body, fieldValidation="Strict")
    assert 'unknown field "metadata.foo"' in answer.json()["message"]


NAMES = {
    "upper case": ({"name": "Bad"}, {("metadata.name", VALUE)}),
    "underscore": ({"name": "bad_name"}, {("metadata.name", VALUE)}),
    "too long": ({"name": "a" * 254}, {("metadata.name", VALUE)}),
    "none at all": ({}, {("metadata.name", "FieldValueRequired"), UNCHECKED}),
    "label key": ({"name": "a", "labels": {"bad key": "x"}}, {("metadata.labels", VALUE)}),
    "label value": ({"name": "a", "labels": {"k": "bad value!"}}, {("metadata.labels", VALUE)}),
    "annotation key": ({"name": "a", "annotations": {"bad key": "x"}}, {("metadata.annotations", VALUE)}),
    "owner without a uid": (
        {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": ""}]},
        {("metadata.ownerReferences.uid", VALUE)},
    ),
}


@pytest.mark.parametrize(("metadata", "expected"), NAMES.values(), ids=NAMES.keys())
async def test_invalid_metadata_is_refused(
    cluster: Cluster, metadata: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    body = cluster.widget("") | {"metadata": metadata}
    answer = await cluster.send("POST", cluster.widgets, body)
    assert answer.status_code == 422
    assert causes(answer) == expected


BODIES = {
    "cut short": b'{"a":',
    "empty": b"",
    "a list": b"[1]",
    "a string": b'"x"',
    "no kind": b'{"metadata":{"name":"q"}}',
    "not JSON": b"\xff\xfe",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_no_object_is_a_bad_request(cluster: Cluster, body: bytes) -> None:
    answer = await cluster.send("POST", cluster.widgets, body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
    assert "must be of type Widget" in answer.json()["message"]


async def test_an_unknown_media_type_is_refused(cluster: Cluster) -> None:
    answer = await cluster.send("POST", cluster.widgets, b"x", content_type="text/plain")
    assert (answer.status_code, answer.json()["reason"]) == (415, "UnsupportedMediaType")
    answer = await cluster.send("GET", cluster.widgets, accept="text/html")
    assert (answer.status_code, answer.json()["reason"]) == (406, "NotAcceptable")
