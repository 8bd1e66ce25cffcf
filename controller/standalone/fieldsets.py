"""Sets of field paths in Kubernetes' FieldsV1 form: `{"f:spec": {"f:image": {}}}`, `.` being the thing itself."""

import json
from collections.abc import Iterator
from typing import Any

import orjson

from controller.standalone.schema import Schema, properties_of

FieldSet = dict[str, Any]

SELF = "."
# Identity and bookkeeping: nobody owns these.
_BOOKKEEPING = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink",
    "deletionTimestamp", "deletionGracePeriodSeconds", "generateName",
)  # fmt: skip
UNOWNED: FieldSet = {"f:apiVersion": {}, "f:kind": {}, "f:metadata": {f"f:{name}": {} for name in _BOOKKEEPING}}
UNOWNED["f:metadata"][SELF] = {}


def below(schema: Schema, name: str) -> Schema:
    """The schema of a field."""
    known = properties_of(schema).get(name, schema.get("additionalProperties"))
    return known if isinstance(known, dict) else {}


def items_of(schema: Schema) -> Schema:
    """The schema of a list's items."""
    items = schema.get("items")
    return items if isinstance(items, dict) else {}


def is_atomic(value: Any, schema: Schema) -> bool:
    """The value is owned as a whole."""
    if isinstance(value, dict):
        return bool(schema.get("x-kubernetes-map-type") == "atomic")
    if isinstance(value, list):
        return bool(schema.get("x-kubernetes-list-type", "atomic") == "atomic")
    return True


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def children(value: Any, schema: Schema) -> dict[str, tuple[Any, Schema]]:
    """The parts of a value that is not atomic, by their name in a field set."""
    if isinstance(value, dict):
        return {f"f:{name}": (inner, below(schema, name)) for name, inner in value.items()}
    items = items_of(schema)
    if schema.get("x-kubernetes-list-type") == "set":
        return {f"v:{_text(item)}": (item, {}) for item in value}
    keys = schema.get("x-kubernetes-list-map-keys", [])
    found = {}
    for item in value:
        mark = {key: item[key] for key in keys if key in item} if isinstance(item, dict) else {}
        found[f"k:{_text(mark)}"] = (item, items)
    return found


def fields_of(value: Any, schema: Schema, *, containers: bool) -> FieldSet:
    """Every field that is set; `containers` adds objects and lists themselves: only updates own them."""
    if is_atomic(value, schema) or not value:
        return {}
    # Where there is no schema, structure is only deduced, and an apply owns the objects as well.
    found: FieldSet = {SELF: {}} if containers or not schema else {}
    for name, (inner, known) in children(value, schema).items():
        part = fields_of(inner, known, containers=containers)
        if not part and not containers and _holds_nothing(inner, known):
            continue
        if name.startswith("k:"):
            part[SELF] = {}
        found[name] = part
    return found


def _holds_nothing(value: Any, schema: Schema) -> bool:
    # An empty set or keyed list says nothing about its items, and neither does what holds only such lists.
    if is_atomic(value, schema):
        return False
    return bool(value) or isinstance(value, list)


def without_unowned(fields: FieldSet) -> FieldSet:
    """The set without identity and bookkeeping."""
    kept = difference(fields, UNOWNED)
    kept.pop(SELF, None)
    return kept


def _is_leaf(fields: FieldSet) -> bool:
    return not fields


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields in either set."""
    if not left or not right:
        return _union_with_leaf(left, right)
    merged = dict(left)
    for name, inner in right.items():
        if name == SELF:
            merged[SELF] = {}
        else:
            merged[name] = union(merged[name], inner) if name in merged else inner
    return merged


def _union_with_leaf(left: FieldSet, right: FieldSet) -> FieldSet:
    # A leaf ({}) means the thing itself; next to a set of parts it becomes the "." member.
    parts = left or right
    return {SELF: {}, **parts} if parts else {}


def _members(fields: FieldSet) -> FieldSet:
    return fields or {SELF: {}}


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields in `left` that are not in `right`; `{}` as a result of unequal sets means nothing is left."""
    taken = _members(right)
    kept: FieldSet = {}
    for name, inner in _members(left).items():
        if name == SELF:
            if SELF not in taken:
                kept[SELF] = {}
        elif name not in taken:
            kept[name] = inner
        else:
            rest = difference(inner, taken[name])
            if rest:
                kept[name] = {} if set(rest) == {SELF} else rest
    return kept


def unheld(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields in `left` of which `right` holds neither the thing nor any part."""
    kept: FieldSet = {}
    for name, inner in left.items():
        if name not in right:
            kept[name] = inner
        elif name != SELF and inner:
            rest = unheld(inner, _members(right[name]))
            rest.pop(SELF, None)
            if rest:
                kept[name] = rest
    return kept


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """Fields in both sets."""
    first, second = _members(left), _members(right)
    both: FieldSet = {}
    for name in first.keys() & second.keys():
        if name == SELF:
            both[SELF] = {}
            continue
        shared = intersection(first[name], second[name])
        if shared:
            both[name] = {} if set(shared) == {SELF} else shared
    return both


def compare(old: Any, new: Any, schema: Schema) -> tuple[FieldSet, FieldSet]:
    """Fields set or changed from `old` to `new`, and fields removed."""
    if old == new and type(old) is type(new):
        return {}, {}
    if new is None and isinstance(old, dict | list) and not is_atomic(old, schema):
        # A null for a thing of parts takes its parts away.
        return {}, {name: _whole(inner, known, name) for name, (inner, known) in children(old, schema).items()}
    both = isinstance(old, dict | list) and type(old) is type(new)
    if not both or is_atomic(new, schema):
        return {SELF: {}}, {}
    changed: FieldSet = {}
    removed: FieldSet = {}
    if isinstance(old, dict):
        # Most of an object is untouched by most writes, and often the very same parts.
        touched = {
            name for name in old.keys() | new.keys() if name not in old or name not in new or old[name] != new[name]
        }
        old, new = ({name: side[name] for name in touched if name in side} for side in (old, new))
    before, after = children(old, schema), children(new, schema)
    for name, (inner, known) in after.items():
        if name not in before:
            changed[name] = _whole(inner, known, name)
            continue
        deeper, gone = compare(before[name][0], inner, known)
        if deeper:
            changed[name] = {} if set(deeper) == {SELF} else deeper
        if gone:
            removed[name] = gone
    for name, (inner, known) in before.items():
        if name not in after:
            removed[name] = _whole(inner, known, name)
    return changed, removed


def _whole(value: Any, schema: Schema, name: str) -> FieldSet:
    fields = fields_of(value, schema, containers=True)
    if name.startswith("k:") and SELF not in fields:
        fields = {SELF: {}, **fields}
    return fields


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """The set's paths as messages show them: `.spec.ports[name="http"].port`."""
    for name, inner in sorted(fields.items()):
        if name == SELF:
            if prefix:
                yield prefix
            continue
        here = prefix + _step(name)
        if _is_leaf(inner):
            yield here
        else:
            yield from paths(inner, here)


def _step(name: str) -> str:
    sort, _, rest = name.partition(":")
    if sort == "k":
        return "[" + ",".join(f"{key}={_text(value)}" for key, value in json.loads(rest).items()) + "]"
    return f"[={rest}]" if sort == "v" else f".{rest}"
