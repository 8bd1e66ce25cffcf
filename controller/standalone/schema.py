"""Structural schemas: dropping unknown fields, filling in defaults."""

import copy
from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
Schema = Mapping[str, Any]

METADATA: Schema = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("name", "generateName", "namespace", "selfLink", "uid")},
        "resourceVersion": {"type": "string"},
        "generation": {"type": "integer", "format": "int64"},
        "creationTimestamp": {"type": "string", "format": "date-time", "nullable": True},
        "deletionTimestamp": {"type": "string", "format": "date-time", "nullable": True},
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64", "nullable": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "finalizers": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "ownerReferences": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {
                "type": "object",
                "x-kubernetes-map-type": "atomic",
                "properties": {
                    **{name: {"type": "string"} for name in ("apiVersion", "kind", "name", "uid")},
                    "controller": {"type": "boolean", "nullable": True},
                    "blockOwnerDeletion": {"type": "boolean", "nullable": True},
                },
            },
        },
        "managedFields": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    **{name: {"type": "string"} for name in ("manager", "operation", "apiVersion", "fieldsType")},
                    "time": {"type": "string", "nullable": True},
                    "subresource": {"type": "string"},
                    "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            },
        },
    },
}
"""ObjectMeta, as every kind has it."""

EMBEDDED: Schema = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": METADATA}


def whole(schema: Schema) -> Schema:
    """The schema of a custom resource with the fields every object has."""
    properties = dict(schema.get("properties") or {})
    metadata = dict(METADATA)
    if declared := (properties.get("metadata") or {}).get("properties"):
        # A CRD may restrict the name; the other rules of ObjectMeta are not its to change.
        names = {
            name: METADATA["properties"][name] | declared[name] for name in ("name", "generateName") if name in declared
        }
        metadata["properties"] = METADATA["properties"] | names
    return {**schema, "type": "object", "properties": {**properties, **EMBEDDED, "metadata": metadata}}


def is_free(schema: Schema) -> bool:
    """Unknown fields are kept."""
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def properties_of(schema: Schema) -> Mapping[str, Schema]:
    """Declared fields, those of an embedded resource included."""
    declared: Mapping[str, Schema] = schema.get("properties") or {}
    return {**declared, **EMBEDDED} if schema.get("x-kubernetes-embedded-resource") else declared


def prune(value: Any, schema: Schema, path: str, unknown: list[str]) -> Any:
    """`value` without the fields its schema does not know, whose paths are added to `unknown`."""
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, dict):
            return value
        return [prune(item, items, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if schema.get("type") == "array":
        # The wrong type is refused later; what is inside was never described.
        unknown += [f"{path}.{name}" for name in sorted(value)]
        return value
    properties = properties_of(schema)
    additional = schema.get("additionalProperties")
    free = is_free(schema) or additional is True
    kept: Object = {}
    for name, inner in value.items():
        below = f"{path}.{name}" if path else name
        known = properties.get(name, additional if isinstance(additional, dict) else None)
        if known is not None:
            kept[name] = prune(inner, known, below, unknown) if isinstance(inner, dict | list) else inner
        elif free:
            kept[name] = inner
        else:
            unknown.append(below)
    return kept


def default(value: Any, schema: Schema) -> Any:
    """`value` with every default filled in; nulls that the schema does not allow give way to defaults."""
    if isinstance(value, list):
        items = schema.get("items")
        if not isinstance(items, dict):
            return value
        return [default(item, items) for item in value]
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, known in (schema.get("properties") or {}).items():
        present = name in filled
        if present and filled[name] is None and not known.get("nullable"):
            present = False
        if not present and "default" in known:
            filled[name] = copy.deepcopy(known["default"])
        if isinstance(filled.get(name), dict | list):
            filled[name] = default(filled[name], known)
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        properties = schema.get("properties") or {}
        filled.update({name: default(inner, additional) for name, inner in value.items() if name not in properties})
    return filled


def without_nulls(value: Any, schema: Schema | None) -> Any:
    """`value` without nulls where neither `nullable` nor a default allows one; without a schema, without any null."""
    if isinstance(value, list):
        items = schema.get("items") or {} if schema is not None else None
        return [without_nulls(item, items) for item in value] if isinstance(items, dict | None) else value
    if not isinstance(value, dict):
        return value
    if schema is None:
        return {name: without_nulls(inner, None) for name, inner in value.items() if inner is not None}
    properties, additional = properties_of(schema), schema.get("additionalProperties")
    other = additional if isinstance(additional, dict) else {}
    return {
        name: without_nulls(inner, properties.get(name, other)) if isinstance(inner, dict | list) else inner
        for name, inner in value.items()
        if inner is not None
        or name not in properties
        or properties[name].get("nullable")
        or "default" in properties[name]
    }
