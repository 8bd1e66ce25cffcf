"""JSON merge patch, JSON patch and strategic merge patch; none of them changes its input."""

import copy
from collections.abc import Callable
from typing import Any

import jsonpatch
import jsonpointer
import orjson

from controller.standalone.schema import Object
from controller.standalone.statuses import ApiError, bad_request, unsupported_media_type

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

MERGE_KEYS = {"ownerReferences": "uid", "conditions": "type"}
PRIMITIVE_SETS = {"finalizers"}
MOST_OPERATIONS = 10_000
MOST_COPIED = 1024 * 1024
"""Bytes that the copies of one JSON patch may add up to."""
_OF_JSON_PATCH = (ValueError, TypeError, LookupError, AttributeError)
"""What jsonpatch stumbles into, besides its own errors, when an operation is of another shape."""


def json_merge(value: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, inner in patch.items():
        if inner is None:
            merged.pop(name, None)
        elif isinstance(inner, dict):
            merged[name] = json_merge(merged.get(name), inner)
        else:
            merged[name] = inner
    return merged


def json_patch(value: Object, operations: Any) -> Object:
    """RFC 6902; 422 when an operation does not fit the object."""
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        )
    if len(operations) > MOST_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(operations)}"
        raise ApiError(413, "RequestEntityTooLarge", message)
    try:
        patched = _patched(copy.deepcopy(value), operations)
    except jsonpatch.InvalidJsonPatch as error:
        raise bad_request(f"error decoding patch: {error}") from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, *_OF_JSON_PATCH) as error:
        message = "the server rejected our request due to an error in our request"
        raise ApiError(422, "Invalid", message, details={}) from error
    if not isinstance(patched, dict):
        raise bad_request("error decoding patch: the result is not an object")
    return patched


def _patched(value: Any, operations: list[Any]) -> Any:
    copied = 0
    for operation in operations:
        if isinstance(operation, dict) and operation.get("op") == "copy":
            # A copy of a copy of everything doubles it: thirty of them would fill any memory.
            copied += len(orjson.dumps(jsonpointer.resolve_pointer(value, operation["from"])))
            if copied > MOST_COPIED:
                raise jsonpatch.JsonPatchException(f"copies add up to more than {MOST_COPIED} bytes")
        value = jsonpatch.JsonPatch([operation]).apply(value, in_place=True)
    return value


def strategic_merge(value: Any, patch: Any) -> Any:
    """Strategic merge for the core kinds served here: directives, owner references by uid, finalizers as a set."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: inner for name, inner in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    merged = dict(value) if isinstance(value, dict) else {}
    if (kept := patch.get("$retainKeys")) is not None:
        _require_texts("$retainKeys", kept)
        merged = {name: inner for name, inner in merged.items() if name in kept}
    for name, inner in patch.items():
        if name.startswith("$"):
            _directive(merged, name, inner)
        elif inner is None:
            merged.pop(name, None)
        elif isinstance(inner, dict):
            merged[name] = strategic_merge(merged.get(name), inner)
        elif isinstance(inner, list) and name in PRIMITIVE_SETS:
            _require_texts(name, inner)
            merged[name] = list(dict.fromkeys([*_items(merged.get(name)), *inner]))
        elif isinstance(inner, list) and name in MERGE_KEYS:
            merged[name] = _merge_items(_items(merged.get(name)), inner, MERGE_KEYS[name])
        else:
            merged[name] = inner
    return merged


def _directive(merged: Object, name: str, value: Any) -> None:
    directive, _, field = name.partition("/")
    if directive == "$deleteFromPrimitiveList":
        _require_texts(name, value)
    if directive == "$deleteFromPrimitiveList" and isinstance(merged.get(field), list):
        merged[field] = [item for item in merged[field] if item not in value]


def _merge_items(present: list[Any], patch: list[Any], key: str) -> list[Any]:
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if item.get("$patch") != "replace"]
    items = {str(item.get(key)): item for item in present if isinstance(item, dict)}
    for item in patch:
        if not isinstance(item, dict) or not isinstance(item.get(key), str):
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        if item.get("$patch") == "delete":
            items.pop(item[key], None)
        else:
            items[item[key]] = strategic_merge(items.get(item[key]), item)
    return list(items.values())


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _require_texts(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad_request(f"error decoding patch: {name} must be a list of strings")


def accepted(*, strategic: bool) -> list[str]:
    """The kinds of patch that are taken; a strategic one only for core kinds."""
    return [JSON, MERGE, *([STRATEGIC] if strategic else []), APPLY]


def patcher(media_type: str, body: Any, *, strategic: bool) -> Callable[[Object], Object]:
    """The change that a patch body describes; 415 for a kind of patch that is not taken here."""
    if media_type not in (known := accepted(strategic=strategic)) or media_type == APPLY:
        raise unsupported_media_type(known)
    if media_type == JSON:
        return lambda live: json_patch(live, body)
    if not isinstance(body, dict):
        sort = "array" if isinstance(body, list) else "value"
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {sort} into Go value of type map[string]interface {{}}"
        )
    merge = json_merge if media_type == MERGE else strategic_merge
    return lambda live: merge(live, body)
