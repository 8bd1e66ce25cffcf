"""The core kinds that are served: namespaces, secrets, config maps, events, leases and resource definitions."""

from collections.abc import Mapping
from typing import Any

from controller.standalone.kinds import Column, Kind, value_at
from controller.standalone.schema import Object, Schema, whole
from controller.standalone.tables import age

STRING: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time", "nullable": True}
INT32: Schema = {"type": "integer", "format": "int32"}
BOOLEAN: Schema = {"type": "boolean"}
FREE: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _object(properties: Mapping[str, Schema], **more: Any) -> Schema:
    return {"type": "object", "properties": dict(properties), **more}


def _strings(*names: str) -> dict[str, Schema]:
    return dict.fromkeys(names, STRING)


def _map_of(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _list_of(items: Schema, *keys: str) -> Schema:
    if not keys:
        return {"type": "array", "items": items}
    return {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


BYTES: Schema = {"type": "string", "format": "byte"}
CONDITIONS = _list_of(
    _object(
        {**_strings("type", "status", "reason", "message"), "lastTransitionTime": TIME}, required=["type", "status"]
    ),
    "type",
)
REFERENCE = _object(
    _strings("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"),
    **{"x-kubernetes-map-type": "atomic"},
)

NAMESPACE_SCHEMA = whole(
    _object(
        {
            "spec": _object({"finalizers": _list_of(STRING)}),
            "status": _object({"phase": STRING, "conditions": CONDITIONS}),
        }
    )
)
SECRET_SCHEMA = whole(
    _object(
        {"data": _map_of(BYTES), "stringData": _map_of(STRING), "type": STRING, "immutable": BOOLEAN},
        description="A Secret.",
    )
)
CONFIG_MAP_SCHEMA = whole(_object({"data": _map_of(STRING), "binaryData": _map_of(BYTES), "immutable": BOOLEAN}))
LEASE_SCHEMA = whole(
    _object(
        {
            "spec": _object(
                {
                    **_strings("holderIdentity", "preferredHolder", "strategy"),
                    "leaseDurationSeconds": {**INT32, "minimum": 1},
                    "leaseTransitions": {**INT32, "minimum": 0},
                    "acquireTime": TIME,
                    "renewTime": TIME,
                }
            )
        }
    )
)
_SOURCE = _object(_strings("component", "host"))
_SERIES = _object({"count": INT32, "lastObservedTime": TIME})
EVENT_SCHEMA = whole(
    _object(
        {
            **_strings("reason", "message", "type", "action", "reportingComponent", "reportingInstance"),
            "involvedObject": REFERENCE,
            "related": REFERENCE,
            "source": _SOURCE,
            "series": _SERIES,
            "firstTimestamp": TIME,
            "lastTimestamp": TIME,
            "eventTime": TIME,
            "count": INT32,
        },
        required=["involvedObject"],
    )
)
NEW_EVENT_SCHEMA = whole(
    _object(
        {
            **_strings("reason", "note", "type", "action", "reportingController", "reportingInstance"),
            "regarding": REFERENCE,
            "related": REFERENCE,
            "deprecatedSource": _SOURCE,
            "series": _SERIES,
            "deprecatedFirstTimestamp": TIME,
            "deprecatedLastTimestamp": TIME,
            "eventTime": TIME,
            "deprecatedCount": INT32,
        }
    )
)
_NAMES = _object(
    {
        **_strings("plural", "singular", "kind", "listKind"),
        "shortNames": _list_of(STRING),
        "categories": _list_of(STRING),
    }
)
_COLUMN = _object({**_strings("name", "type", "format", "description", "jsonPath"), "priority": INT32})
_VERSION = _object(
    {
        "name": STRING,
        "served": BOOLEAN,
        "storage": BOOLEAN,
        "deprecated": BOOLEAN,
        "deprecationWarning": STRING,
        "schema": _object({"openAPIV3Schema": FREE}),
        "subresources": _object(
            {"status": FREE, "scale": _object(_strings("specReplicasPath", "statusReplicasPath", "labelSelectorPath"))}
        ),
        "additionalPrinterColumns": _list_of(_COLUMN),
        "selectableFields": _list_of(_object({"jsonPath": STRING})),
    },
    required=["name", "served", "storage"],
)
CRD_SCHEMA = whole(
    _object(
        {
            "spec": _object(
                {
                    "group": STRING,
                    "scope": {"type": "string", "enum": ["Cluster", "Namespaced"]},
                    "names": _NAMES,
                    "versions": _list_of(_VERSION),
                    "conversion": FREE,
                    "preserveUnknownFields": BOOLEAN,
                },
                required=["group", "names", "scope", "versions"],
            ),
            "status": _object(
                {"conditions": CONDITIONS, "acceptedNames": _NAMES, "storedVersions": _list_of(STRING)},
            ),
        },
        required=["spec"],
    )
)

# Core/v1 name of an Event's field -> its events.k8s.io/v1 name.
EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}


def _new_event(event: Object) -> Object:
    return {EVENT_FIELDS.get(name, name): value for name, value in event.items()} | {"apiVersion": "events.k8s.io/v1"}


def _core_event(event: Object) -> Object:
    names = {new: old for old, new in EVENT_FIELDS.items()}
    return {names.get(name, name): value for name, value in event.items()} | {"apiVersion": "v1"}


def _created(obj: Object) -> str:
    return age(value_at(obj, ("metadata", "creationTimestamp")))


def _namespace_row(obj: Object) -> list[Any]:
    return [obj["metadata"]["name"], value_at(obj, ("status", "phase")) or "", _created(obj)]


def _secret_row(obj: Object) -> list[Any]:
    return [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data") or {}), _created(obj)]


def _config_map_row(obj: Object) -> list[Any]:
    return [obj["metadata"]["name"], len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), _created(obj)]


def _lease_row(obj: Object) -> list[Any]:
    return [obj["metadata"]["name"], value_at(obj, ("spec", "holderIdentity")) or "", _created(obj)]


def _definition_row(obj: Object) -> list[Any]:
    return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp")]


def _event_row(served: Object) -> list[Any]:
    event = _core_event(served)
    target, source = event.get("involvedObject") or {}, event.get("source") or {}
    series = event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    component = source.get("component") or event.get("reportingComponent") or ""
    origin = ", ".join(part for part in (component, source.get("host", "")) if part)
    thing = f"{target.get('kind', '').lower()}/{target.get('name', '')}"
    count = series.get("count") or event.get("count") or 1
    head = [age(last), event.get("type", ""), event.get("reason", ""), thing, target.get("fieldPath", ""), origin]
    return [*head, (event.get("message") or "").strip(), age(first), count, event["metadata"]["name"]]


def _column(name: str, kind: str = "string", priority: int = 0) -> Column:
    return Column(name, kind, "", priority=priority, format="name" if name == "Name" else "")


NAME, AGE = _column("Name"), _column("Age")
EVENT_COLUMNS = (
    _column("Last Seen"), _column("Type"), _column("Reason"), _column("Object"), _column("Subobject", priority=1),
    _column("Source", priority=1), _column("Message"), _column("First Seen", priority=1),
    _column("Count", "integer", priority=1), _column("Name", priority=1),
)  # fmt: skip
_REFERENCE_FIELDS = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
NAMESPACES = Kind(
    "", "v1", "namespaces", "Namespace", "namespace", namespaced=False, list_kind="NamespaceList", short_names=("ns",),
    schema=NAMESPACE_SCHEMA, status=True, columns=(NAME, _column("Status"), AGE), row=_namespace_row,
    selectable=("status.phase",),
)  # fmt: skip
SECRETS = Kind(
    "", "v1", "secrets", "Secret", "secret", list_kind="SecretList", schema=SECRET_SCHEMA,
    columns=(NAME, _column("Type"), _column("Data"), AGE), row=_secret_row, selectable=("type",),
)  # fmt: skip
CONFIG_MAPS = Kind(
    "", "v1", "configmaps", "ConfigMap", "configmap", list_kind="ConfigMapList", short_names=("cm",),
    schema=CONFIG_MAP_SCHEMA, columns=(NAME, _column("Data"), AGE), row=_config_map_row,
)  # fmt: skip
EVENTS = Kind(
    "", "v1", "events", "Event", "event", list_kind="EventList", short_names=("ev",), schema=EVENT_SCHEMA,
    columns=EVENT_COLUMNS, row=_event_row, create_on_update=True,
    selectable=(*(f"involvedObject.{name}" for name in _REFERENCE_FIELDS), "reason", "type", "reportingComponent",
                "source.component"),
)  # fmt: skip
NEW_EVENTS = Kind(
    "events.k8s.io", "v1", "events", "Event", "event", list_kind="EventList", short_names=("ev",),
    schema=NEW_EVENT_SCHEMA, columns=EVENT_COLUMNS, row=_event_row, create_on_update=True, stored_as="events",
    from_stored=_new_event, to_stored=_core_event,
    selectable=(*(f"regarding.{name}" for name in _REFERENCE_FIELDS), "reason", "type", "reportingController"),
)  # fmt: skip
LEASES = Kind(
    "coordination.k8s.io", "v1", "leases", "Lease", "lease", list_kind="LeaseList", schema=LEASE_SCHEMA,
    columns=(NAME, _column("Holder"), AGE), row=_lease_row, create_on_update=True,
)  # fmt: skip
DEFINITIONS = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", "customresourcedefinition",
    namespaced=False, list_kind="CustomResourceDefinitionList", short_names=("crd", "crds"),
    categories=("api-extensions",), schema=CRD_SCHEMA, status=True, generations=True,
    unconditional_update=False, columns=(NAME, _column("Created At", "date")), row=_definition_row,
)  # fmt: skip
KINDS = (NAMESPACES, SECRETS, CONFIG_MAPS, EVENTS, NEW_EVENTS, LEASES, DEFINITIONS)
