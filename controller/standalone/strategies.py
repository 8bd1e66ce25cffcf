"""What single kinds ask for beyond their schema, before a write and when it is checked."""

import base64
from collections.abc import Iterator

from controller.standalone import builtin, crds
from controller.standalone.kinds import Kind, dotted, value_at
from controller.standalone.schema import Object
from controller.standalone.statuses import Cause
from controller.standalone.validation import invalid_value, quoted

IMMUTABLE = "Forbidden: field is immutable when `immutable` is set"
BIGGEST_DATA = 1024 * 1024


def prepare(kind: Kind, new: Object, old: Object | None) -> None:
    """Fill in what the kind derives."""
    if kind is builtin.SECRETS:
        new.setdefault("type", "Opaque")
        if plain := new.pop("stringData", None):
            encoded = {name: base64.b64encode(str(value).encode()).decode() for name, value in plain.items()}
            new["data"] = {**(new.get("data") or {}), **encoded}
    elif kind is builtin.NAMESPACES:
        _prepare_namespace(new, old)
    elif kind is builtin.DEFINITIONS:
        crds.fill(new)


def _prepare_namespace(new: Object, old: Object | None) -> None:
    metadata = new["metadata"]
    metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata.get("name", "")}
    if old is None:
        new["spec"] = {"finalizers": ["kubernetes"]}
        new["status"] = {"phase": "Active"}
    else:
        # Only the namespace controller and the finalize subresource empty this list.
        new["spec"] = old.get("spec", {})


def finish(kind: Kind, new: Object) -> None:
    """Derive what needs a valid object."""
    if kind is builtin.DEFINITIONS:
        crds.complete(new)


def faults(kind: Kind, new: Object, old: Object | None) -> Iterator[Cause]:
    """What the schema cannot say."""
    if kind.scale is not None:
        yield from _scale_faults(kind, new)
    if kind is builtin.DEFINITIONS:
        yield from crds.faults(new)
    elif kind in {builtin.SECRETS, builtin.CONFIG_MAPS}:
        yield from _data_faults(kind, new, old)
    elif kind is builtin.EVENTS:
        yield from _event_faults(new)


def _scale_faults(kind: Kind, new: Object) -> Iterator[Cause]:
    assert kind.scale is not None  # noqa: S101 - the caller looked
    for path in (kind.scale.spec_replicas, kind.scale.status_replicas):
        value = value_at(new, dotted(path))
        if isinstance(value, int) and value < 0:
            yield invalid_value(path, str(value), "should be a non-negative integer")


def _data_faults(kind: Kind, new: Object, old: Object | None) -> Iterator[Cause]:
    data = {**(new.get("data") or {}), **(new.get("binaryData") or {})}
    for key in data:
        if not key or len(key) > 253 or key in {".", ".."} or not set(key) <= _KEY_LETTERS:
            why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            yield invalid_value(f"data[{key}]", quoted(key), why)
    if sum(len(value) for value in data.values() if isinstance(value, str)) > BIGGEST_DATA * 4 // 3:
        yield Cause("data", "FieldValueTooLong", f"Too long: may not be more than {BIGGEST_DATA} bytes")
    if old is not None and old.get("immutable"):
        for name in ("data", "binaryData", "immutable"):
            if new.get(name) != old.get(name):
                yield Cause(name, "FieldValueForbidden", IMMUTABLE)
    if kind is builtin.SECRETS and old is not None and new.get("type") != old.get("type"):
        yield invalid_value("type", quoted(new.get("type", "")), "field is immutable")


_KEY_LETTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def _event_faults(new: Object) -> Iterator[Cause]:
    namespace, target = new["metadata"].get("namespace", ""), (new.get("involvedObject") or {}).get("namespace", "")
    if target and target != namespace:
        yield invalid_value("involvedObject.namespace", quoted(target), "does not match event.namespace")
    if not target and namespace != "default":
        yield invalid_value("involvedObject.namespace", '""', "does not match event.namespace")
