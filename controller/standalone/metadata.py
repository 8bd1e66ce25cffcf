"""ObjectMeta: what names, labels, finalizers and owner references may be, and what only the server may set."""

import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from controller.standalone.schema import METADATA, Object
from controller.standalone.statuses import Cause, bad_request
from controller.standalone.validation import GO_TYPES, invalid_value, quoted, required

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KEY = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is '" + SUBDOMAIN.pattern + "')"
)
LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '" + LABEL.pattern + "')"
)
KEY_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '" + KEY.pattern + "')"
)
VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '"
    + VALUE.pattern
    + "')"
)
ANNOTATIONS_LIMIT = 256 * 1024
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
STANDARD_FINALIZERS = {"foregroundDeletion", "orphan", "kubernetes"}
SERVER_SET = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")


def now() -> str:
    """The present, as metadata shows times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str) -> str:
    """A name from generateName."""
    return prefix[:58] + "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))


def type_fault(metadata: Any) -> str:
    """Why ObjectMeta cannot be decoded, in the words of Kubernetes' JSON decoder; empty when it can."""
    if not isinstance(metadata, dict):
        return f"json: cannot unmarshal {_go(metadata)} into Go struct field .metadata of type v1.ObjectMeta"
    for name, value in metadata.items():
        schema = METADATA["properties"].get(name)
        if schema is not None and value is not None and (fault := _fault(value, schema)):
            found, expected = fault
            return f"json: cannot unmarshal {found} into Go struct field ObjectMeta.{name} of type {expected}"
    return ""


_EXPECTED: dict[str, Any] = {"string": str, "object": dict, "array": list, "boolean": bool, "integer": int}


def _go(value: Any) -> str:
    return {"boolean": "bool", "integer": "number"}.get(kind := GO_TYPES.get(type(value), "object"), kind)


def _fault(value: Any, schema: Mapping[str, Any]) -> tuple[str, str] | None:
    expected: str = schema["type"]
    if not isinstance(value, _EXPECTED[expected]) or (expected == "integer" and isinstance(value, bool)):
        return _go(value), {"object": "map[string]string", "array": "[]string"}.get(expected, expected)
    inner = schema.get("additionalProperties") or schema.get("items")
    if isinstance(inner, Mapping):
        parts: list[Any] = list(value.values() if isinstance(value, dict) else value)
        return next((f for part in parts if part is not None and (f := _fault(part, inner))), None)
    return None


def clean(metadata: Object) -> Object:
    """ObjectMeta as Kubernetes stores it: nulls and empty values count as unset."""
    return {name: value for name, value in metadata.items() if value not in (None, "", [], {})}


def carry(old: Object, new: Object) -> None:
    """Put into `new` what only the server sets."""
    for name in SERVER_SET:
        if name in old:
            new[name] = old[name]
        else:
            new.pop(name, None)
    if "generateName" in old:
        new["generateName"] = old["generateName"]


def immutable_faults(old: Object, new: Object) -> Iterator[Cause]:
    """Only a delete sets the deletionTimestamp, and nothing changes it."""
    given = new.get("deletionTimestamp")
    if given and given != old.get("deletionTimestamp"):
        yield invalid_value("metadata.deletionTimestamp", quoted(given), "field is immutable")


def faults(metadata: Object, *, namespaced: bool, label_name: bool = False) -> Iterator[Cause]:
    """Everything wrong with ObjectMeta."""
    yield from _name_faults(metadata, label_name=label_name)
    if namespaced and not metadata.get("namespace"):
        yield required("metadata.namespace")
    if not namespaced and metadata.get("namespace"):
        yield Cause("metadata.namespace", "FieldValueForbidden", "Forbidden: not allowed on this type")
    yield from _label_faults(metadata.get("labels") or {})
    yield from _annotation_faults(metadata.get("annotations") or {})
    yield from _finalizer_faults(metadata.get("finalizers") or [])
    yield from _owner_faults(metadata.get("ownerReferences") or [])


def _name_faults(metadata: Object, *, label_name: bool) -> Iterator[Cause]:
    longest, pattern, words = (63, LABEL, LABEL_WORDS) if label_name else (253, SUBDOMAIN, SUBDOMAIN_WORDS)
    prefix = metadata.get("generateName", "")
    if prefix and not pattern.fullmatch(prefix.rstrip("-.") or "-"):
        yield invalid_value("metadata.generateName", quoted(prefix), words)
    name = metadata.get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
        return
    if len(name) > longest:
        yield invalid_value("metadata.name", quoted(name), f"must be no more than {longest} bytes")
    if not pattern.fullmatch(name):
        yield invalid_value("metadata.name", quoted(name), words)


def _key_faults(key: str, path: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and (not SUBDOMAIN.fullmatch(prefix) or len(prefix) > 253):
        why = SUBDOMAIN_WORDS if prefix else "must be non-empty"
        yield invalid_value(path, quoted(key), f"prefix part {why}")
    if not name:
        yield invalid_value(path, quoted(key), "name part must be non-empty")
    elif len(name) > 63:
        yield invalid_value(path, quoted(key), "name part must be no more than 63 bytes")
    if not KEY.fullmatch(name):
        yield invalid_value(path, quoted(key), KEY_WORDS)


def _label_faults(labels: Mapping[str, str]) -> Iterator[Cause]:
    for key, value in sorted(labels.items()):
        yield from _key_faults(key, "metadata.labels")
        if len(value) > 63:
            yield invalid_value("metadata.labels", quoted(value), "must be no more than 63 bytes")
        if not VALUE.fullmatch(value):
            yield invalid_value("metadata.labels", quoted(value), VALUE_WORDS)


def _annotation_faults(annotations: Mapping[str, str]) -> Iterator[Cause]:
    for key in sorted(annotations):
        yield from _key_faults(key.lower(), "metadata.annotations")
    if sum(len(key) + len(value) for key, value in annotations.items()) > ANNOTATIONS_LIMIT:
        yield Cause(
            "metadata.annotations", "FieldValueTooLong", f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
        )


def _finalizer_faults(finalizers: list[str]) -> Iterator[Cause]:
    for finalizer in finalizers:
        yield from _key_faults(finalizer, "metadata.finalizers")


def _owner_faults(owners: list[Object]) -> Iterator[Cause]:
    path = "metadata.ownerReferences"
    for owner in owners:
        if not owner.get("apiVersion"):
            yield invalid_value(f"{path}.apiVersion", '""', "version must not be empty")
        for name in ("kind", "name", "uid"):
            if not owner.get(name):
                yield invalid_value(f"{path}.{name}", '""', "must not be empty")
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        why = "Only one reference can have Controller set to true"
        yield invalid_value(path, quoted(owners), why)


def warnings(metadata: Object) -> list[str]:
    """What is accepted but better avoided."""
    advice = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
    finalizers = metadata.get("finalizers") or []
    return [
        f"metadata.finalizers: {quoted(name)}: {advice}"
        for name in finalizers
        if "/" not in name and name not in STANDARD_FINALIZERS
    ]


def new_finalizer_fault(old: Object, new: Object) -> Cause | None:
    """Finalizers may only be removed from an object that is being deleted."""
    added = [name for name in new.get("finalizers") or [] if name not in (old.get("finalizers") or [])]
    if not old.get("deletionTimestamp") or not added:
        return None
    shown = "[]string{" + ", ".join(quoted(name) for name in added) + "}"
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
    return Cause("metadata.finalizers", "FieldValueForbidden", f"Forbidden: {why}")


def check_place(metadata: Object, namespace: str, name: str) -> None:
    """The object must agree with the URL; a missing namespace is filled in."""
    if namespace and metadata.get("namespace", namespace) != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if namespace:
        metadata["namespace"] = namespace
    given = metadata.get("name", "")
    if name and given and given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
    if name and not given:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
