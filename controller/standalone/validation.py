"""Checking a value against its structural schema, in the words of a Kubernetes API server."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson

from controller.standalone import formats
from controller.standalone.schema import Schema, properties_of
from controller.standalone.statuses import Cause

MISSING: Any = object()
"""Stands for an absent old value: None is a value."""

GO_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}


def quoted(value: Any) -> str:
    """A value as Kubernetes shows it in a message."""
    return orjson.dumps(value).decode()


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)


def invalid_value(path: str, shown: str, why: str) -> Cause:
    """FieldValueInvalid."""
    return Cause(path, "FieldValueInvalid", f"Invalid value: {shown}: {why}")


def required(path: str, why: str = "") -> Cause:
    """FieldValueRequired."""
    return Cause(path, "FieldValueRequired", f"Required value: {why}" if why else "Required value")


def unsupported(path: str, value: Any, supported: list[Any]) -> Cause:
    """FieldValueNotSupported."""
    listed = ", ".join(quoted(item) for item in supported)
    return Cause(path, "FieldValueNotSupported", f"Unsupported value: {quoted(value)}: supported values: {listed}")


def duplicate(path: str, value: Any) -> Cause:
    """FieldValueDuplicate."""
    return Cause(path, "FieldValueDuplicate", f"Duplicate value: {quoted(value)}")


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _wrong_type(path: str, value: Any, expected: str) -> Cause:
    found = GO_TYPES.get(type(value), "object")
    why = f'{path} in body must be of type {expected}: "{found}"'
    return Cause(path, "FieldValueTypeInvalid", f'Invalid value: "{found}": {why}')


def _has_type(value: Any, expected: str) -> bool:
    match expected:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def validate(value: Any, schema: Schema, path: str = "", old: Any = MISSING) -> Iterator[Cause]:
    """Every fault of `value`; parts equal to `old` were accepted before and stay accepted, as in Kubernetes."""
    if old is not MISSING and value == old and type(value) is type(old):
        return
    if value is None and schema.get("nullable"):
        return
    yield from _validate_type(value, schema, path)
    if (enum := schema.get("enum")) and value not in enum:
        yield unsupported(path, value, list(enum))
    if isinstance(value, str):
        yield from _validate_string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _validate_number(value, schema, path)
    elif isinstance(value, list):
        yield from _validate_list(value, schema, path, old if isinstance(old, list) else MISSING)
    elif isinstance(value, dict):
        yield from _validate_object(value, schema, path, old if isinstance(old, dict) else MISSING)
    yield from _validate_junctors(value, schema, path)


def _validate_type(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    if schema.get("x-kubernetes-int-or-string"):
        if not _has_type(value, "integer") and not isinstance(value, str):
            yield _wrong_type(path, value, "integer,string")
        return
    expected = schema.get("type")
    if expected and not _has_type(value, expected):
        yield _wrong_type(path, value, expected)
        return
    if expected == "integer":
        name = schema.get("format", "int64")
        low, high = formats.RANGES.get(name, formats.RANGES["int64"])
        if not low <= value <= high:
            why = f"Checked value must be of type integer with format {name} in {path}"
            yield invalid_value("<nil>", '""', why)


def _validate_string(value: str, schema: Schema, path: str) -> Iterator[Cause]:
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    if longest is not None and len(value) > longest:
        yield Cause(path, "FieldValueTooLong", f"Too long: may not be more than {longest} bytes")
    if shortest is not None and len(value) < shortest:
        yield invalid_value(path, quoted(value), f"{path} in body should be at least {shortest} chars long")
    elif (pattern := schema.get("pattern")) and not _pattern(pattern).search(value):
        yield invalid_value(path, quoted(value), f"{path} in body should match '{pattern}'")
    name = schema.get("format")
    if name and not formats.matches(value, name):
        why = f"{path} in body must be of type {name}: {quoted(value)}"
        yield Cause(path, "FieldValueTypeInvalid", f"Invalid value: {quoted(value)}: {why}")


def _validate_number(value: float, schema: Schema, path: str) -> Iterator[Cause]:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if high is not None:
        exclusive = bool(schema.get("exclusiveMaximum"))
        if value > high or (exclusive and value == high):
            bound = f"less than {_number(high)}" if exclusive else f"less than or equal to {_number(high)}"
            yield invalid_value(path, _number(value), f"{path} in body should be {bound}")
    if low is not None:
        exclusive = bool(schema.get("exclusiveMinimum"))
        if value < low or (exclusive and value == low):
            bound = f"greater than {_number(low)}" if exclusive else f"greater than or equal to {_number(low)}"
            yield invalid_value(path, _number(value), f"{path} in body should be {bound}")
    if step and abs(value / step - round(value / step)) > 1e-9:
        yield invalid_value(path, _number(value), f"{path} in body should be a multiple of {_number(step)}")


def _validate_list(value: list[Any], schema: Schema, path: str, old: Any) -> Iterator[Cause]:
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None and len(value) > most:
        yield Cause(path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items")
    if least is not None and len(value) < least:
        yield invalid_value(path, str(len(value)), f"{path} in body should have at least {least} items")
    items = schema.get("items")
    if isinstance(items, dict):
        earlier = _correlated(schema, old)
        for index, item in enumerate(value):
            before = earlier.get(_identity(schema, item, index), MISSING)
            yield from validate(item, items, f"{path}[{index}]", before)
    if schema.get("uniqueItems") or schema.get("x-kubernetes-list-type") in {"set", "map"}:
        yield from _validate_unique(value, schema, path)


def _identity(schema: Schema, item: Any, index: int) -> Any:
    if schema.get("x-kubernetes-list-type") == "map" and isinstance(item, dict):
        return quoted([item.get(key) for key in schema.get("x-kubernetes-list-map-keys", [])])
    return index


def _correlated(schema: Schema, old: Any) -> dict[Any, Any]:
    if not isinstance(old, list):
        return {}
    return {_identity(schema, item, index): item for index, item in enumerate(old)}


def _validate_unique(value: list[Any], schema: Schema, path: str) -> Iterator[Cause]:
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        shown = item
        if schema.get("x-kubernetes-list-type") == "map":
            if not isinstance(item, dict):
                continue
            keys = schema.get("x-kubernetes-list-map-keys", [])
            if any(key not in item for key in keys):
                continue
            shown = {key: item[key] for key in keys}
        mark = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
        if mark in seen:
            yield duplicate(f"{path}[{index}]", shown)
        seen.add(mark)


def _validate_object(value: dict[str, Any], schema: Schema, path: str, old: Any) -> Iterator[Cause]:
    before = old if isinstance(old, dict) else {}
    for name in schema.get("required") or ():
        if name not in value or value[name] is None:
            yield required(_below(path, name))
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        yield Cause(path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items")
    if least is not None and len(value) < least:
        yield invalid_value(path, str(len(value)), f"{path} in body should have at least {least} properties")
    properties = properties_of(schema)
    additional = schema.get("additionalProperties")
    for name, inner in value.items():
        if name in before and before[name] is inner:
            continue
        known = properties.get(name, additional if isinstance(additional, dict) else None)
        if known is None or (inner is None and name in (schema.get("required") or ())):
            continue
        yield from validate(inner, known, _below(path, name), before.get(name, MISSING))


def _validate_junctors(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    for inner in schema.get("allOf") or ():
        yield from validate(value, inner, path)
    options = () if schema.get("x-kubernetes-int-or-string") else schema.get("anyOf")
    if options and not any(_fits(value, inner) for inner in options):
        yield invalid_value(path, '""', f'"{path}" must validate at least one schema (anyOf)')
    if options := schema.get("oneOf"):
        fitting = sum(_fits(value, inner) for inner in options)
        if fitting != 1:
            found = "Found none valid" if not fitting else f"Found {fitting} valid alternatives"
            yield invalid_value(path, '""', f'"{path}" must validate one and only one schema (oneOf). {found}')
    if (inner := schema.get("not")) is not None and _fits(value, inner):
        yield invalid_value(path, '""', f'"{path}" must not validate the schema (not)')


def _fits(value: Any, schema: Schema) -> bool:
    return next(validate(value, schema, ""), None) is None
