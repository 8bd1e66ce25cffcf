"""Server-side apply: merging what a manager wants into an object by who owns what."""

from typing import Any

from controller.standalone import fieldsets, managers
from controller.standalone.fieldsets import FieldSet
from controller.standalone.managers import Manager
from controller.standalone.schema import Object, Schema, properties_of
from controller.standalone.statuses import ApiError, Cause


def apply(live: Object, wanted: Object, schema: Schema, me: Manager, *, force: bool) -> tuple[Object, list[Manager]]:
    """`live` with `wanted` applied by `me`, and the managers afterwards; 409 for fields that others own.

    Fields that `me` applied before and no longer wants are removed where nobody else owns them.
    """
    known = managers.read(live)
    mine = next((manager for manager in known if manager.identity == me.identity), None)
    others = [manager for manager in known if manager is not mine]
    applied = fieldsets.without_unowned(fieldsets.fields_of(wanted, schema, containers=False))
    merged = merge(live, wanted, schema)
    _take_over(others, _changed(live, merged, schema), applied, force=force)
    if mine is not None:
        abandoned = fieldsets.difference(mine.fields, applied) if applied else mine.fields
        for other in others:
            if abandoned and other.fields:
                abandoned = fieldsets.unheld(abandoned, other.fields)
        if abandoned:
            merged = remove(merged, abandoned, schema)
    keeper = mine if mine is not None and mine.fields == applied else me
    keeper.fields = applied
    return merged, [*others, keeper]


def _changed(live: Object, merged: Object, schema: Schema) -> FieldSet:
    changed, _ = fieldsets.compare(live, merged, schema)
    return fieldsets.without_unowned(changed)


def _take_over(others: list[Manager], changed: FieldSet, applied: FieldSet, *, force: bool) -> None:
    contested = fieldsets.intersection(changed, applied) if changed and applied else {}
    if not contested:
        return
    clashes = []
    for manager in others:
        clash = fieldsets.intersection(manager.fields, contested) if manager.fields else {}
        if clash:
            clashes.append((manager, clash))
    if clashes and not force:
        raise _conflict(clashes)
    for manager, clash in clashes:
        manager.fields = fieldsets.difference(manager.fields, clash)


def _conflict(clashes: list[tuple[Manager, FieldSet]]) -> ApiError:
    causes = []
    groups: dict[str, list[str]] = {}
    for manager, clash in clashes:
        for path in fieldsets.paths(clash):
            causes.append(Cause(path, "FieldManagerConflict", f"conflict with {manager.title()}"))
            groups.setdefault(manager.title(), []).append(path)
    if len(causes) == 1:
        text = f"conflict with {clashes[0][0].title()}: {causes[0].field}"
    else:
        text = "\n".join(
            f"conflicts with {title}:\n" + "\n".join(f"- {path}" for path in paths) for title, paths in groups.items()
        )
    noun = "conflict" if len(causes) == 1 else "conflicts"
    details = {"causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]}
    return ApiError(409, "Conflict", f"Apply failed with {len(causes)} {noun}: {text}", details=details)


def merge(live: Any, wanted: Any, schema: Schema) -> Any:
    """`live` with everything `wanted` says; lists and objects join by their schema."""
    if wanted is None and isinstance(live, dict | list) and not fieldsets.is_atomic(live, schema):
        return live
    if type(live) is not type(wanted) or fieldsets.is_atomic(wanted, schema):
        return wanted
    if isinstance(wanted, dict):
        merged = dict(live)
        for name, inner in wanted.items():
            merged[name] = merge(live[name], inner, fieldsets.below(schema, name)) if name in live else inner
        return merged
    return _merge_items(live, wanted, schema)


def _merge_items(live: list[Any], wanted: list[Any], schema: Schema) -> list[Any]:
    """Both lists' items: in the wanted order, items only in `live` keeping their place before what follows them."""
    present, asked = fieldsets.children(live, schema), fieldsets.children(wanted, schema)
    left = list(present)
    joined: list[Any] = []
    for name, (inner, known) in asked.items():
        while left and left[0] != name and left[0] not in asked:
            joined.append(present[left.pop(0)][0])
        joined.append(merge(present[name][0], inner, known) if name in present else inner)
        if name in left:
            left.remove(name)
    return joined + [present[name][0] for name in left]


def remove(value: Any, fields: FieldSet, schema: Schema) -> Any:
    """`value` without the given fields; objects and lists that become empty by it go as well."""
    keys = schema.get("x-kubernetes-list-map-keys", []) if isinstance(value, list) else []
    kept = {}
    for name, (inner, known) in fieldsets.children(value, schema).items():
        gone = fields.get(name)
        if gone is None:
            kept[name] = inner
        elif gone and fieldsets.SELF not in gone and not fieldsets.is_atomic(inner, known):
            # What is left of an item keeps the keys that tell it from others.
            rest = remove(inner, gone, known)
            rest = {key: inner[key] for key in keys} | rest if keys else rest
            if rest:
                kept[name] = rest
    if isinstance(value, dict):
        return {name.removeprefix("f:"): inner for name, inner in kept.items()}
    return list(kept.values())


def undeclared(value: Any, schema: Schema, path: str = "") -> str:
    """The first field of an applied object that its schema does not declare, or an empty string."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or not schema:
        return ""
    if isinstance(value, list):
        found = (undeclared(item, fieldsets.items_of(schema), path) for item in value)
        return next((name for name in found if name), "")
    if not isinstance(value, dict):
        return ""
    for name, inner in value.items():
        declared = name in properties_of(schema) or "additionalProperties" in schema
        if not declared:
            return f"{path}.{name}"
        if deeper := undeclared(inner, fieldsets.below(schema, name), f"{path}.{name}"):
            return deeper
    return ""
