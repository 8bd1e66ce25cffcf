"""From an HTTP request to its answer."""

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from controller.standalone import (
    access,
    answers,
    discovery,
    lists,
    openapi,
    patches,
    requests,
    scales,
    selectors,
    statuses,
)
from controller.standalone.admission import Options
from controller.standalone.catalogue import Catalogue
from controller.standalone.kinds import Kind
from controller.standalone.requests import Rendering, Target
from controller.standalone.schema import Object
from controller.standalone.statuses import ApiError, Cause, bad_request, invalid, method_not_allowed, no_such_path
from controller.standalone.store import Store
from controller.standalone.watches import Watches
from controller.standalone.writes import Deletion, Result, Writer

log = logging.getLogger(__name__)

PROBES = {"/healthz", "/livez", "/readyz"}
POLICIES = ("Foreground", "Background", "Orphan")
STRICTNESS = ("", "Ignore", "Strict", "Warn")
OPTION_KINDS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}


class Handler:
    """Answers every request; whatever goes wrong becomes a Status."""

    def __init__(self, store: Store, catalogue: Catalogue, writer: Writer, watches: Watches, token: str) -> None:
        self._store = store
        self._catalogue = catalogue
        self._writer = writer
        self._watches = watches
        self._token = token
        self._documents = openapi.Documents(catalogue)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The request handler of the HTTP server."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return answers.refusal(error)
        except RecursionError:
            return answers.refusal(bad_request("the body is nested too deep: flatten it"))
        except (ConnectionError, web.HTTPException):
            raise
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            message = "Internal error occurred: this is a bug of the standalone server; its log says more"
            return answers.refusal(ApiError(500, "InternalError", message))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path in PROBES or path.startswith(("/livez/", "/readyz/", "/healthz/")):
            return web.Response(text="ok")
        if not access.is_known(request.headers.get("Authorization", ""), self._token):
            raise statuses.unauthorized()
        if path.startswith("/openapi/"):
            return self._documents.answer(request, path.rstrip("/"))
        how = requests.rendering(request.headers.get("Accept", ""))
        target = requests.target(path)
        if target is None:
            return self._describe(request, path, how)
        if (target.group, target.version, target.plural) == ("authorization.k8s.io", "v1", discovery.REVIEWS[0]):
            return await self._review(request, how)
        kind = self._catalogue.find(target.group, target.version, target.plural)
        if kind is None or (target.namespace and not kind.namespaced):
            raise no_such_path()
        match request.method:
            case "GET" | "HEAD":
                return await self._read(request, kind, target, how)
            case "POST" | "PUT" | "PATCH":
                return await self._write(request, kind, target, how)
            case "DELETE":
                return await self._delete(request, kind, target, how)
        raise method_not_allowed()

    def _describe(self, request: web.BaseRequest, path: str, how: Rendering) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            raise no_such_path()
        path = "/" + path.strip("/")
        if path in {"/api", "/apis"} and how.shape == "APIGroupDiscoveryList":
            described = discovery.aggregated(self._catalogue, core=path == "/api")
            content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            return web.Response(body=orjson.dumps(described), headers={"Content-Type": content_type})
        parts = path.strip("/").split("/")
        answer: Object | None = None
        match parts:
            case ["version"]:
                answer = discovery.version()
            case ["api"]:
                answer = discovery.core_versions()
            case ["apis"]:
                answer = discovery.group_list(self._catalogue)
            case ["api", version]:
                answer = discovery.resource_list(self._catalogue, "", version)
            case ["apis", group]:
                answer = discovery.group(self._catalogue, group)
            case ["apis", group, version]:
                answer = discovery.resource_list(self._catalogue, group, version)
        if answer is None:
            raise no_such_path()
        return answers.encoded(answer, how)

    async def _review(self, request: web.BaseRequest, how: Rendering) -> web.Response:
        """There is one user, who may do everything."""
        if request.method != "POST":
            raise method_not_allowed()
        body = requests.decode(await requests.read(request), _media_type(request), "SelfSubjectAccessReview")
        if not isinstance(body, dict):
            raise bad_request("the body must be a SelfSubjectAccessReview")
        status = {"allowed": True, "reason": "the standalone server has one user, who may do everything"}
        return answers.encoded({**body, "status": status}, how, code=201)

    async def _read(self, request: web.BaseRequest, kind: Kind, target: Target, how: Rendering) -> web.StreamResponse:
        query = request.query
        if target.name:
            return self._get(kind, target, how, query)
        selection = selectors.selection(kind, target.namespace, query)
        if query.get("watch", "") in {"true", "1"}:
            return await self._watches.serve(request, kind, selection, how, query)
        shown = lists.page(self._store, kind, selection, query)
        body = lists.encode(kind, shown, how, query.get("includeObject", "Metadata"))
        return answers.raw(body, how)

    def _get(self, kind: Kind, target: Target, how: Rendering, query: Mapping[str, str]) -> web.Response:
        _check_subresource(kind, target)
        record = self._store.get(kind.resource, target.namespace, target.name)
        if record is None:
            raise statuses.not_found(kind.group, kind.plural, target.name)
        if (rv := lists.version(query.get("resourceVersion", ""))) > self._store.rv:
            raise statuses.version_too_large(rv, self._store.rv)
        if target.subresource == "scale":
            return answers.encoded(scales.scale_of(kind, kind.served(record.obj)), how)
        if how.shape:
            return answers.shaped(kind, kind.served(record.obj), how, query)
        return answers.raw(lists.served_raw(kind, record), how)

    async def _write(self, request: web.BaseRequest, kind: Kind, target: Target, how: Rendering) -> web.StreamResponse:
        if request.method == "POST" and target.name:
            raise method_not_allowed()
        if request.method != "POST" and not target.name:
            raise method_not_allowed()
        _check_subresource(kind, target)
        raw, media_type = await requests.read(request), _media_type(request)
        options = _options(request)
        try:
            body = self._body(kind, raw, media_type, options, patch=request.method == "PATCH")
            result = await self._store_body(request.method, kind, target, media_type, body, options)
        except ApiError as error:
            return answers.refusal(error, options.warnings)
        if target.subresource == "scale":
            return answers.encoded(scales.scale_of(kind, kind.served(result.obj)), how, warnings=options.warnings)
        return answers.written(kind, result, how, request.query, options)

    def _body(self, kind: Kind, raw: bytes, media_type: str, options: Options, *, patch: bool) -> Any:
        if not patch and media_type not in {"", *requests.READ}:
            raise statuses.unsupported_media_type(requests.READ)
        body = requests.decode(raw, media_type, kind.kind)
        if not patch and not isinstance(body, dict):
            sort = "array" if isinstance(body, list) else "string" if isinstance(body, str) else "value"
            why = f"couldn't get version/kind; json parse error: json: cannot unmarshal {sort} into an object"
            raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind}): {why}")
        if options.strictness != "Ignore" and (not patch or options.strictness == "Strict"):
            options.duplicates = requests.duplicates(raw)
        return body

    async def _store_body(
        self, method: str, kind: Kind, target: Target, media_type: str, body: Any, options: Options
    ) -> Result:
        namespace, name, part = target.namespace, target.name, target.subresource
        if method == "POST":
            return await self._writer.create(kind, namespace, body, options)
        if method == "PUT":
            if part == "scale":
                return await scales.update(self._writer, kind, namespace, name, body, options)
            return await self._writer.update(kind, namespace, name, body, options, part)
        if part == "scale" and media_type != patches.APPLY:
            return await scales.patch(self._writer, kind, namespace, name, media_type, body, options)
        return await self._writer.patch(kind, namespace, name, media_type, body, options, part)

    async def _delete(self, request: web.BaseRequest, kind: Kind, target: Target, how: Rendering) -> web.StreamResponse:
        if target.subresource:
            raise method_not_allowed()
        raw = await requests.read(request)
        deletion = _deletion(requests.decode(raw, _media_type(request), "DeleteOptions") if raw else {}, request.query)
        if not target.name:
            shown = lists.page(
                self._store, kind, selectors.selection(kind, target.namespace, request.query), request.query
            )
            await self._writer.delete_all(kind, shown.records, deletion)
            return answers.raw(lists.encode(kind, shown, how, "Metadata"), how)
        result = await self._writer.delete(kind, target.namespace, target.name, deletion)
        if result.gone:
            uid = result.obj["metadata"]["uid"]
            return answers.encoded(statuses.success(target.name, kind.group, kind.plural, uid), how)
        return answers.written(kind, result, how, request.query, Options())


def _check_subresource(kind: Kind, target: Target) -> None:
    known = {"": True, "status": kind.status, "scale": kind.scale is not None}
    if not known.get(target.subresource, False):
        raise statuses.not_found(kind.group, kind.plural, target.name)


def _media_type(request: web.BaseRequest) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _refuse_option(method: str, field: str, message: str, reason: str = "FieldValueNotSupported") -> ApiError:
    return invalid("meta.k8s.io", OPTION_KINDS[method], "", [Cause(field, reason, message)])


def _options(request: web.BaseRequest) -> Options:
    query, method = request.query, request.method
    dry = query.getall("dryRun", [])
    if any(value != "All" for value in dry):
        shown = orjson.dumps(dry).decode()
        raise _refuse_option(method, "dryRun", f'Unsupported value: {shown}: supported values: "All"')
    strictness = query.get("fieldValidation", "")
    if strictness not in STRICTNESS:
        listed = ", ".join(f'"{name}"' for name in STRICTNESS)
        raise _refuse_option(
            method, "fieldValidation", f'Unsupported value: "{strictness}": supported values: {listed}'
        )
    manager = query.get("fieldManager", "")
    applies = _media_type(request) == patches.APPLY
    if applies and not manager:
        raise _refuse_option(
            method, "fieldManager", "Required value: is required for apply patch", "FieldValueRequired"
        )
    if "force" in query and method == "PATCH" and not applies:
        raise _refuse_option(
            method, "force", "Forbidden: may not be specified for non-apply patch", "FieldValueForbidden"
        )
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0]
    return Options(
        manager=manager or agent,
        dry_run=bool(dry),
        strictness=strictness or "Warn",
        force=query.get("force", "") in {"true", "1"},
    )


def _deletion(body: Any, query: Mapping[str, str]) -> Deletion:
    if not isinstance(body, dict):
        raise bad_request("the body of a delete must be DeleteOptions")
    preconditions = body.get("preconditions") or {}
    policy = body.get("propagationPolicy") or query.get("propagationPolicy") or ""
    if not policy and (body.get("orphanDependents") or query.get("orphanDependents") == "true"):
        policy = "Orphan"
    if policy and policy not in POLICIES:
        supported = '"Foreground", "Background", "Orphan", "nil"'
        message = f'Unsupported value: "{policy}": supported values: {supported}'
        raise _refuse_option("DELETE", "propagationPolicy", message)
    return Deletion(
        policy=policy or "Background",
        uid=str(preconditions.get("uid") or ""),
        resource_version=str(preconditions.get("resourceVersion") or ""),
        dry_run=bool(body.get("dryRun")) or query.get("dryRun") == "All",
    )
