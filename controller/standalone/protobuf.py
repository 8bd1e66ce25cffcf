"""Kubernetes' protobuf, where kubectl insists on it: new namespaces, secrets, config maps and access reviews."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

from controller.standalone.schema import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

Field = tuple[int, Any]


class _BrokenError(ValueError):
    pass


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
    raise _BrokenError


def _fields(data: bytes) -> Iterator[Field]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise _BrokenError
            yield number, data[at : at + size]
            at += size
        elif wire in {1, 5}:
            at += 8 if wire == 1 else 4
        else:
            raise _BrokenError


Reader = Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise _BrokenError
    return value.decode()


def _bytes(value: Any) -> str:
    if not isinstance(value, bytes):
        raise _BrokenError
    return base64.b64encode(value).decode()


def _message(readers: dict[int, tuple[str, Reader, str]]) -> Reader:
    """A reader of a message: field number -> (name, reader, "" for one value, "list" or "map")."""

    def read(value: Any) -> Object:
        if not isinstance(value, bytes):
            raise _BrokenError
        obj: Object = {}
        for number, raw in _fields(value):
            if number not in readers:
                continue
            name, reader, sort = readers[number]
            if sort == "list":
                obj.setdefault(name, []).append(reader(raw))
            elif sort == "map":
                entry = dict(_fields(raw))
                obj.setdefault(name, {})[_text(entry.get(1, b""))] = reader(entry.get(2, b""))
            elif (item := reader(raw)) not in ("", None):
                obj[name] = item
        return obj

    return read


_owner = _message(
    {
        1: ("kind", _text, ""),
        3: ("name", _text, ""),
        4: ("uid", _text, ""),
        5: ("apiVersion", _text, ""),
        6: ("controller", bool, ""),
        7: ("blockOwnerDeletion", bool, ""),
    }
)
_metadata = _message(
    {
        1: ("name", _text, ""),
        2: ("generateName", _text, ""),
        3: ("namespace", _text, ""),
        5: ("uid", _text, ""),
        6: ("resourceVersion", _text, ""),
        11: ("labels", _text, "map"),
        12: ("annotations", _text, "map"),
        13: ("ownerReferences", _owner, "list"),
        14: ("finalizers", _text, "list"),
    }
)
_KINDS: dict[tuple[str, str], Reader] = {
    ("v1", "Namespace"): _message({1: ("metadata", _metadata, "")}),
    ("v1", "ConfigMap"): _message(
        {
            1: ("metadata", _metadata, ""),
            2: ("data", _text, "map"),
            3: ("binaryData", _bytes, "map"),
            4: ("immutable", bool, ""),
        }
    ),
    ("v1", "Secret"): _message(
        {
            1: ("metadata", _metadata, ""),
            2: ("data", _bytes, "map"),
            3: ("type", _text, ""),
            4: ("stringData", _text, "map"),
            5: ("immutable", bool, ""),
        }
    ),
}
_attributes = _message(
    {
        number: (name, _text, "")
        for number, name in enumerate(("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1)
    }
)
_KINDS["authorization.k8s.io/v1", "SelfSubjectAccessReview"] = _message(
    {2: ("spec", _message({1: ("resourceAttributes", _attributes, "")}), "")}
)
_delete_options = _message(
    {
        2: ("preconditions", _message({1: ("uid", _text, ""), 2: ("resourceVersion", _text, "")}), ""),
        4: ("propagationPolicy", _text, ""),
        5: ("dryRun", _text, "list"),
    }
)
_type = _message({1: ("apiVersion", _text, ""), 2: ("kind", _text, "")})
_envelope = _message({1: ("type", _type, ""), 2: ("raw", lambda value: value, "")})


def decode(body: bytes) -> Object | None:
    """The object in a protobuf body, as JSON would hold it; None when it is of another kind or cannot be read."""
    if not body.startswith(MAGIC):
        return None
    try:
        envelope = _envelope(body[len(MAGIC) :])
        head = envelope.get("type", {})
        reader = _KINDS.get((head.get("apiVersion", ""), head.get("kind", "")))
        if head.get("kind") == "DeleteOptions":
            reader = _delete_options
        if reader is None:
            return None
        return {**head, **reader(envelope.get("raw", b""))}
    except (ValueError, TypeError):
        return None
