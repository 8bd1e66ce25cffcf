"""OpenAPI v3: what `kubectl explain` and `kubectl apply` read about kinds and about server-side validation."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from controller.standalone import discovery, openapi_v2
from controller.standalone.catalogue import Catalogue
from controller.standalone.kinds import Kind
from controller.standalone.patches import accepted
from controller.standalone.schema import METADATA, Object
from controller.standalone.statuses import no_such_path

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values."
)
KIND = "Kind is a string value representing the REST resource this object represents. In CamelCase. Cannot be updated."
MEDIA = "application/json"


def _component(kind: Kind) -> str:
    if not kind.custom:
        package = kind.group.removesuffix(".k8s.io").replace(".", "_") or "core"
        return f"io.k8s.api.{package}.{kind.version}.{kind.kind}"
    return f"{'.'.join(reversed(kind.group.split('.')))}.{kind.version}.{kind.kind}"


def _ref(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


def _gvk(kind: Kind) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _described(kind: Kind) -> Object:
    schema: Mapping[str, Any] = kind.schema
    properties = dict(schema.get("properties") or {})
    properties["apiVersion"] = {"type": "string", "description": API_VERSION}
    properties["kind"] = {"type": "string", "description": KIND}
    properties["metadata"] = {
        "description": "Standard object's metadata.",
        "allOf": [_ref(f"{META}.ObjectMeta")],
        "default": {},
    }
    return {**schema, "properties": properties, "x-kubernetes-group-version-kind": [_gvk(kind)]}


def _query(name: str, description: str) -> Object:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", "uniqueItems": True}}


WRITE_OPTIONS = [
    _query("dryRun", "All: nothing is stored."),
    _query("fieldManager", "The name of the actor making the change."),
    _query("fieldValidation", "What to do about unknown or duplicate fields: Ignore, Warn or Strict."),
]


def _operation(kind: Kind, action: str, *, is_patch: bool = False, body: bool = False) -> Object:
    answer = {"description": "OK", "content": {MEDIA: {"schema": _ref(_component(kind))}}}
    operation: Object = {
        "operationId": f"{action}{kind.kind}",
        "responses": {"200": answer},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if is_patch or body:
        operation["parameters"] = list(WRITE_OPTIONS)
        media = accepted(strategic=not kind.custom) if is_patch else [MEDIA]
        schema = _ref(f"{META}.Patch") if is_patch else _ref(_component(kind))
        operation["requestBody"] = {"content": {name: {"schema": schema} for name in media}, "required": True}
    if is_patch:
        operation["parameters"].append(_query("force", "Take over fields that others own (apply only)."))
    return operation


def _paths(kind: Kind) -> Object:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = f"{root}/namespaces/{{namespace}}" if kind.namespaced else root
    one = {
        "get": _operation(kind, "get"),
        "put": _operation(kind, "put", body=True),
        "patch": _operation(kind, "patch", is_patch=True),
        "delete": _operation(kind, "delete"),
    }
    paths: Object = {
        f"{scope}/{kind.plural}": {"get": _operation(kind, "list"), "post": _operation(kind, "post", body=True)},
        f"{scope}/{kind.plural}/{{name}}": one,
    }
    if kind.status:
        paths[f"{scope}/{kind.plural}/{{name}}/status"] = {key: one[key] for key in ("get", "put", "patch")}
    return paths


def _document(kinds: list[Kind]) -> Object:
    schemas: Object = {
        f"{META}.ObjectMeta": {
            **METADATA,
            "description": "ObjectMeta is metadata that all persisted resources must have.",
        },
        f"{META}.Patch": {
            "type": "object",
            "description": "Patch is provided to give a concrete name to a patch body.",
        },
    }
    paths: Object = {}
    for kind in kinds:
        schemas[_component(kind)] = _described(kind)
        paths |= _paths(kind)
    info = {"title": "agentpool standalone", "version": discovery.VERSION}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


class Documents:
    """The documents, made anew when the catalogue moved."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._generation = -1
        self._documents: dict[str, tuple[bytes, str]] = {}

    def answer(self, request: web.BaseRequest, path: str) -> web.Response:
        """/openapi/v2, and /openapi/v3 and below."""
        self._refresh()
        if path == "/openapi/v2":
            return web.Response(
                body=openapi_v2.document(self._catalogue), headers={"Content-Type": openapi_v2.MEDIA_TYPE}
            )
        if path == "/openapi/v3":
            index = {
                name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={tag}"}
                for name, (_, tag) in self._documents.items()
            }
            return web.Response(body=orjson.dumps({"paths": index}), content_type=MEDIA)
        known = self._documents.get(path.removeprefix("/openapi/v3/"))
        if known is None:
            raise no_such_path()
        body, tag = known
        headers = {
            "ETag": f'"{tag}"',
            "Cache-Control": "public, immutable" if request.query.get("hash") == tag else "no-cache",
        }
        if tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=MEDIA, headers=headers)

    def _refresh(self) -> None:
        if self._generation == self._catalogue.generation:
            return
        self._generation = self._catalogue.generation
        self._documents = {}
        for group, versions in self._catalogue.groups().items():
            for version, kinds in versions.items():
                body = orjson.dumps(_document(kinds))
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                self._documents[name] = (body, hashlib.sha256(body).hexdigest().upper())
