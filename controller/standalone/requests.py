"""What a request asks for: its path, its Accept header, its body."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson
import yaml
from aiohttp import web

from controller.standalone import protobuf
from controller.standalone.statuses import bad_request, not_acceptable, too_large, unsupported_media_type

BODY_LIMIT = 3 * 1024 * 1024
DEPTH_LIMIT = 100
YAML_TYPES = {"application/yaml", "application/x-yaml", "text/yaml", "application/apply-patch+yaml"}
OFFERED = ("application/json", "application/yaml")
READ = (*OFFERED, protobuf.MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class Target:
    """The resource a path names."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def target(path: str) -> Target | None:
    """The resource behind a path; None for paths that name no resource."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in {"status", "finalize"}:
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or not all(rest):
        return None
    rest += [""] * (3 - len(rest))
    return Target(group, version, rest[0], namespace, rest[1], rest[2])


@dataclass(frozen=True, slots=True)
class Rendering:
    """How the answer is wanted: `shape` is "", Table, PartialObjectMetadata(List) or APIGroupDiscoveryList."""

    media_type: str = "application/json"
    shape: str = ""
    version: str = ""


SHAPES = {
    "Table": "meta.k8s.io",
    "PartialObjectMetadata": "meta.k8s.io",
    "PartialObjectMetadataList": "meta.k8s.io",
    "APIGroupDiscoveryList": "apidiscovery.k8s.io",
}


@lru_cache(maxsize=64)
def rendering(accept: str) -> Rendering:
    """The first form of the Accept header that is served here; 406 when none is."""
    for clause in accept.split(",") if accept.strip() else ["*/*"]:
        media_type, *parameters = (part.strip() for part in clause.split(";"))
        if media_type in {"*/*", "application/*"}:
            media_type = "application/json"
        options = dict(parameter.partition("=")[::2] for parameter in parameters)
        shape = options.get("as", "")
        if media_type not in OFFERED or (shape and not _is_served(shape, options)):
            continue
        return Rendering(media_type, shape, options.get("v", ""))
    raise not_acceptable(OFFERED)


def _is_served(shape: str, options: Mapping[str, str]) -> bool:
    versions = {"v2"} if shape == "APIGroupDiscoveryList" else {"v1"}
    return SHAPES.get(shape) == options.get("g", SHAPES.get(shape, "")) and options.get("v", "v1") in versions


async def read(request: web.BaseRequest) -> bytes:
    """The body; 413 beyond the limit."""
    if (request.content_length or 0) > BODY_LIMIT:
        raise too_large(BODY_LIMIT)
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise too_large(BODY_LIMIT)
    return bytes(body)


def decode(raw: bytes, media_type: str, kind: str) -> Any:
    """The value a body holds: JSON, YAML or Kubernetes' protobuf; 400 with a sentence when it cannot be read."""
    if media_type == protobuf.MEDIA_TYPE:
        value = protobuf.decode(raw)
        if value is None:
            raise unsupported_media_type(READ)
        return value
    if media_type in YAML_TYPES:
        return _yaml(raw, kind)
    value = _json(raw, kind)
    _check_depth(raw, value)
    return value


def _json(raw: bytes, kind: str) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        shown = raw[:60].decode("utf-8", "replace") or "<empty>"
        why = "unexpected end of JSON input" if error.pos >= len(raw) else str(error)
        message = f"couldn't get version/kind; json parse error: {why} ({shown})"
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {message}") from error


_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_OF_YAML = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What PyYAML's constructors stumble into, besides its own errors, when a tag does not fit its value."""


class _Loader(_SafeLoader):  # type: ignore[misc]
    """The safe loader, for which times are the strings that Kubernetes takes them for."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }


def _yaml(raw: bytes, kind: str) -> Any:
    try:
        return _shallow(raw, orjson.loads(raw))  # kubectl applies JSON under YAML's name
    except orjson.JSONDecodeError:
        pass
    try:
        _check_yaml(raw)
        value = yaml.load(raw, Loader=_Loader)  # noqa: S506 - a safe loader
        # Keys become strings, as in JSON; not-a-number and infinity have no place there.
        value = orjson.loads(json.dumps(value, allow_nan=False))
    except (yaml.YAMLError, *_OF_YAML) as error:
        where = " ".join(str(error).split())
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): yaml: {where}") from error
    return value


def _shallow(raw: bytes, value: Any) -> Any:
    _check_depth(raw, value)
    return value


def _check_yaml(raw: bytes) -> None:
    depth = 0
    for event in yaml.parse(raw, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise bad_request("YAML aliases are not read here: write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_LIMIT:
            raise bad_request(f"the body is nested more than {DEPTH_LIMIT} levels deep: flatten it")


def _check_depth(raw: bytes, value: Any) -> None:
    if raw.count(b"{") + raw.count(b"[") <= DEPTH_LIMIT:
        return
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [inner for item in level for inner in _parts(item)]
        if not level:
            return
    raise bad_request(f"the body is nested more than {DEPTH_LIMIT} levels deep: flatten it")


def _parts(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in inner if isinstance(item, dict | list)]


def duplicates(raw: bytes) -> list[str]:
    """The paths of fields that a JSON object gives more than once."""
    found: list[str] = []

    try:
        value = json.loads(raw, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return []
    _find_twice(value, "", found)
    return found


class _Pairs(dict[str, Any]):
    """An object that knows which of its fields were given more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(self) < len(pairs) else {}
        self.twice = [name for name, count in counts.items() if count > 1]


def _find_twice(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Pairs):
        found += [f"{path}{name}" for name in value.twice]
        for name, inner in value.items():
            _find_twice(inner, f"{path}{name}.", found)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _find_twice(inner, f"{path.removesuffix('.')}[{index}].", found)
