"""What reaches the standalone API server: whole requests, and the parts that are parsed by themselves."""

import asyncio
import contextlib
import logging
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import yaml
from aiohttp import web

from controller.standalone import builtin, crds, patches, protobuf, requests, selectors, tables, tls
from controller.standalone.catalogue import Catalogue
from controller.standalone.disk import Disk
from controller.standalone.formats import CHECKS, matches
from controller.standalone.handler import Handler
from controller.standalone.rules import RuleError, compile_rules
from controller.standalone.statuses import ApiError
from controller.standalone.store import Store
from controller.standalone.watches import Watches
from controller.standalone.writes import Writer
from tests.fuzz.http import loop, received
from tests.fuzz.target import lines, target, text

WIDGET: Any = yaml.safe_load((Path(__file__).parents[1] / "cluster" / "widget.yaml").read_bytes())
WIDGETS = "/apis/test.agentpool.dev/v1alpha1/namespaces/default/widgets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGET_KIND = crds.kinds_of(WIDGET)[0]
JSON = "application/json"
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where writing costs nothing."""
PRESENT = {
    "/api/v1/namespaces": {"metadata": {"name": "default"}},
    WIDGETS: {"metadata": {"name": "w"}, "spec": {"color": "red", "free": {"a": [1]}}},
    "/api/v1/namespaces/default/configmaps": {"metadata": {"name": "c"}, "data": {"a": "b"}},
}
CONFIG_MAP = b"k8s\x00\n\x0f\n\x02v1\x12\tConfigMap\x12\x14\n\x05\n\x03abc\x12\x0b\n\x03key\x12\x04data"


class Trouble(logging.Handler):
    """Keeps what the server caught as a bug of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.error = record.exc_info[1] if record.exc_info else None


class Served:
    """The server without its sockets, over a store on disk."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        log = logging.getLogger("controller.standalone.handler")
        log.addHandler(self.trouble)
        log.propagate = False
        self._folder = TemporaryDirectory(dir=MEMORY)
        self._handler = loop().run_until_complete(self._open())

    async def _open(self) -> Handler:
        store = Store(Disk(Path(self._folder.name, "objects.db"), 100))
        await store.open()
        catalogue = Catalogue(builtin.KINDS)
        writer = Writer(store, catalogue)
        await writer.install(WIDGET)
        catalogue.serve(crds.kinds_of(WIDGET))
        handler = Handler(store, catalogue, writer, Watches(store), "token")
        for path, body in PRESENT.items():
            await handler.handle(_request(f"POST {path} HTTP/1.1\nContent-Type: {JSON}".encode(), orjson.dumps(body)))
        return handler

    def ask(self, head: bytes, body: bytes) -> None:
        """Answer a request; raises what the server would have taken for a bug of its own."""

        async def answer() -> None:
            with contextlib.suppress(web.HTTPException, Refused):
                await asyncio.wait_for(self._handler.handle(_request(head, body)), 10)

        self.trouble.error = None
        loop().run_until_complete(answer())
        if self.trouble.error is not None:
            raise self.trouble.error


class Refused(Exception):
    """By aiohttp already."""


def _request(head: bytes, body: bytes) -> web.Request:
    request = received(head + b"\nAuthorization: Bearer token", body)
    # A watch goes on for as long as its client likes.
    if request is None or "watch" in request.query:
        raise Refused
    return request


@cache
def served() -> Served:
    return Served()


def asking(first: str, body: bytes | str | Any = b"", media_type: str = JSON, accept: str = JSON) -> bytes:
    """A request, as the target takes it."""
    content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else orjson.dumps(body)
    return f"{first} HTTP/1.1\nContent-Type: {media_type}\nAccept: {accept}\n\n".encode() + content


@target(
    "standalone-request",
    asking(f"POST {WIDGETS}", {"metadata": {"generateName": "w-"}, "spec": {"color": "red", "replicas": 2}}),
    asking(
        f"PATCH {WIDGETS}/w?fieldManager=m&force=true",
        "apiVersion: test.agentpool.dev/v1alpha1\nkind: Widget\nmetadata: {name: w}\nspec: {color: blue, parts: "
        "[{name: a}]}",
        patches.APPLY,
    ),
    asking(f"PATCH {WIDGETS}/w?fieldValidation=Strict", b'{"spec":{"color":"green","color":"red"}}', patches.MERGE),
    asking(f"PATCH {WIDGETS}/w", [{"op": "replace", "path": "/spec/color", "value": "blue"}], patches.JSON),
    asking(f"PATCH {WIDGETS}/w/scale", {"spec": {"replicas": 3}}, patches.MERGE),
    asking(f"PUT {WIDGETS}/w/status", {"metadata": {"name": "w"}, "spec": {"color": "red"}, "status": {"ready": True}}),
    asking(
        "PATCH /api/v1/namespaces/default/configmaps/c",
        {"metadata": {"finalizers": ["a"], "ownerReferences": [{"uid": "u", "$patch": "delete"}]}, "data": {}},
        patches.STRATEGIC,
    ),
    asking(
        f"GET {WIDGETS}?limit=1&continue=WzEsImEiLCJiIl0&labelSelector=a%20in%20(b)&fieldSelector=spec.color%3Dred",
        accept="application/json;as=Table;v=v1;g=meta.k8s.io",
    ),
    asking(f"GET {WIDGETS}?resourceVersion=1&resourceVersionMatch=Exact"),
    asking(f"DELETE {WIDGETS}/w?propagationPolicy=Orphan&dryRun=All", {"preconditions": {"uid": "u"}}),
    asking("POST /api/v1/namespaces/default/configmaps", CONFIG_MAP, protobuf.MEDIA_TYPE),
    asking(f"POST {CRDS}?dryRun=All", WIDGET),
    asking("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}),
    words="GET POST PUT PATCH DELETE ?limit= &continue= &labelSelector= fieldSelector= dryRun=All fieldManager=m "
    "$patch $retainKeys $setElementOrder metadata spec op path value from copy move add remove test /spec/- ~1 "
    "!!timestamp finalizers ownerReferences managedFields x-kubernetes-validations properties additionalProperties "
    "pattern default rule",
)
def request(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    served().ask(head, body)


@target(
    "standalone-selector",
    "app=web,tier in (a,b),!old,size>3",
    "spec.color!=red,metadata.name=a",
    words="in notin ( ) , ! = == != < >",
)
def selector(data: bytes) -> None:
    with contextlib.suppress(ApiError):
        for requirement in selectors.parse_labels(text(data)):
            requirement.holds({"app": "web", "size": "4"})
    with contextlib.suppress(ApiError):
        selectors.parse_fields(text(data), WIDGET_KIND)


@target(
    "standalone-patch",
    b'0\n[{"op":"add","path":"/spec/parts/-","value":{"name":"b"}},{"op":"copy","from":"/spec","path":"/status"}]',
    b'0\n[{"op":"test","path":"/spec/color","value":"red"},{"op":"move","from":"/spec/color","path":"/spec/free/~1x"}]',
    b'1\n{"spec":{"color":null,"free":{"b":{}}}}',
    b'2\n{"$retainKeys":["spec"],"metadata":{"finalizers":["b"],"$deleteFromPrimitiveList/finalizers":["a"]}}',
    b'2\n{"status":{"conditions":[{"type":"Ready","status":"True"},{"$patch":"replace"}]},"spec":{"$patch":"delete"}}',
    words='"op" "path" "value" "from" "add" "remove" "copy" "move" "test" "replace" "" / - ~0 ~1 $patch $retainKeys '
    "$deleteFromPrimitiveList/finalizers finalizers ownerReferences conditions uid type",
)
def patch(data: bytes) -> None:
    [sort], body = lines(data, 1)
    media_type = (patches.JSON, patches.MERGE, patches.STRATEGIC)[int(sort) % 3 if sort in {"0", "1", "2"} else 0]
    live = {
        "metadata": {"name": "w", "finalizers": ["a"], "ownerReferences": [{"uid": "u"}]},
        "spec": {"color": "red", "parts": [{"name": "a"}], "free": {}},
        "status": {"conditions": [{"type": "Ready", "status": "False"}]},
    }
    with contextlib.suppress(ApiError):
        change = patches.patcher(media_type, requests.decode(body, "application/json", "Widget"), strategic=True)
        change(live)


@target(
    "standalone-protobuf",
    CONFIG_MAP,
    CONFIG_MAP.replace(b"ConfigMap", b"Secret\x12\x01a"),
    words="k8s v1 Namespace DeleteOptions",
)
def protobuf_body(data: bytes) -> None:
    protobuf.decode(data)
    protobuf.decode(protobuf.MAGIC + data)


@target(
    "standalone-body",
    "kind: Widget\nmetadata: {name: w}\nspec:\n- 1.5\n- 2026-01-01\n- !!binary aGk=\n",
    '{"a":{"b":1,"b":2},"c":[{"d":1,"d":1}]}',
    words="!!timestamp !!int !!float !!bool !!binary !!set !!omap !!pairs << & * ? | > - : { } [ ] \\u0000twice",
)
def body(data: bytes) -> None:
    for media_type in ("application/json", "application/yaml"):
        # What is nested too deep is refused by who called.
        with contextlib.suppress(ApiError, RecursionError):
            requests.decode(data, media_type, "Widget")
    with contextlib.suppress(RecursionError):
        requests.duplicates(data)


@target(
    "standalone-accept",
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    "*/*",
    words="; , = as= v= g= Table q=0.5",
)
def accept(data: bytes) -> None:
    with contextlib.suppress(ApiError):
        requests.rendering(text(data))
    requests.target("/" + text(data))
    tables.parse_path(text(data))


@target(
    "standalone-rule",
    b"self.replicas <= self.maxReplicas && self.color.startsWith('r')",
    b"size(self.tags) > 1 && self.tags.all(t, t.matches('^[a-z]+$')) || quantity('1Mi').isGreaterThan(quantity('1'))",
    words="self oldSelf has( size( .all( .exists( .matches( quantity( url( isURL( && || ! == in duration( "
    "timestamp( int( 1u",
)
def rule(data: bytes) -> None:
    # The compiler of CEL is C++, and bounds what it reads by itself.
    schema = {
        "type": "object",
        "x-kubernetes-validations": [{"rule": data.decode(errors="replace")}],
        "properties": {
            "replicas": {"type": "integer"}, "maxReplicas": {"type": "integer"}, "color": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
    }  # fmt: skip
    with contextlib.suppress(RuleError):
        rules = compile_rules(schema)
        if rules is not None:
            list(rules.breaches({"replicas": 1, "maxReplicas": 2, "color": "red", "tags": ["a", "b"]}))


@target("standalone-format", "2026-01-01T00:00:00.5Z", "10.0.0.0/8", "https://h:1/p", "aGk=", "3h", "a@b.c",
        words=": / . - + Z T [ ] % @")  # fmt: skip
def string_format(data: bytes) -> None:
    for name in CHECKS:
        assert isinstance(matches(text(data), name), bool)


@target(
    "standalone-certificate",
    b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    words="-----BEGIN -----END CERTIFICATE----- PRIVATE",
)
def certificate(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "ca.crt").write_bytes(data)
        Path(folder, "ca.key").write_bytes(data)
        assert tls.load(Path(folder), "ca") is None
