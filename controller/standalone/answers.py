"""HTTP answers: objects in the form asked for, warnings, and refusals."""

from collections.abc import Mapping
from typing import Any

import orjson
import yaml
from aiohttp import web
from multidict import CIMultiDict

from controller.standalone import tables
from controller.standalone.admission import Options
from controller.standalone.kinds import Kind
from controller.standalone.requests import Rendering
from controller.standalone.schema import Object
from controller.standalone.statuses import ApiError
from controller.standalone.writes import Result

YAML = "application/yaml"


def _headers(media_type: str, warnings: list[str] | None = None) -> list[tuple[str, str]]:
    headers = [("Content-Type", media_type), ("Cache-Control", "no-cache, private")]
    for warning in dict.fromkeys(warnings or []):
        quoted = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
        headers.append(("Warning", f'299 - "{quoted}"'))
    return headers


def raw(body: bytes, how: Rendering, *, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    """An encoded object."""
    if how.media_type == YAML:
        body = yaml.safe_dump(orjson.loads(body)).encode()
    return web.Response(status=code, body=body, headers=CIMultiDict(_headers(how.media_type, warnings)))


def encoded(value: Any, how: Rendering, *, code: int = 200, warnings: list[str] | None = None) -> web.Response:
    """A value as JSON or YAML."""
    return raw(orjson.dumps(value), how, code=code, warnings=warnings)


def shaped(kind: Kind, obj: Object, how: Rendering, query: Mapping[str, str], code: int = 200) -> web.Response:
    """One object as a Table or PartialObjectMetadata."""
    if how.shape == "Table":
        version = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        return encoded(
            tables.table(kind, [tables.row(kind, obj, query.get("includeObject", "Metadata"))], version), how, code=code
        )
    return encoded(tables.partial(obj), how, code=code)


def written(kind: Kind, result: Result, how: Rendering, query: Mapping[str, str], options: Options) -> web.Response:
    """What a write left."""
    code = 201 if result.created else 200
    if how.shape:
        return shaped(kind, kind.served(result.obj), how, query, code)
    if result.raw is not None and kind.api_version == kind.stored_api_version:
        return raw(result.raw, how, code=code, warnings=options.warnings)
    return encoded(kind.served(result.obj), how, code=code, warnings=options.warnings)


def refusal(error: ApiError, warnings: list[str] | None = None) -> web.Response:
    """A Status."""
    headers = CIMultiDict([*_headers("application/json", warnings), *error.headers.items()])
    return web.Response(status=error.code, body=orjson.dumps(error.status()), headers=headers)
