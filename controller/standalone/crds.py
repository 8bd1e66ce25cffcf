"""CustomResourceDefinitions: what makes one valid, and the kinds it serves."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from controller.standalone import metadata, tables
from controller.standalone.kinds import Column, Kind, Scale
from controller.standalone.rules import RuleError, compile_rules
from controller.standalone.schema import Object, Schema, default, prune, whole
from controller.standalone.statuses import Cause
from controller.standalone.validation import invalid_value, quoted, required, unsupported, validate

KEYWORDS = {
    "type", "format", "title", "description", "default", "example", "externalDocs", "nullable", "enum", "required",
    "properties", "items", "additionalProperties", "allOf", "anyOf", "oneOf", "not", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems",
    "uniqueItems", "minProperties", "maxProperties", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations",
}  # fmt: skip
TYPES = ["array", "boolean", "integer", "number", "object", "string"]
COLUMN_TYPES = ["integer", "number", "string", "boolean", "date"]
VERSION_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def faults(definition: Object) -> Iterator[Cause]:
    """Everything wrong with a CRD beyond its own schema."""
    spec = definition["spec"]
    names, group = spec["names"], spec["group"]
    expected = f"{names.get('plural', '')}.{group}"
    if definition["metadata"]["name"] != expected:
        shown = quoted(definition["metadata"]["name"])
        yield invalid_value("metadata.name", shown, 'must be spec.names.plural+"."+spec.group')
    for name in ("plural", "kind"):
        if not names.get(name):
            yield required(f"spec.names.{name}")
    storage = [version for version in spec["versions"] if version.get("storage")]
    if len(storage) != 1:
        shown = quoted([version["name"] for version in spec["versions"]])
        yield invalid_value("spec.versions", shown, "must have exactly one version marked as storage version")
    for index, version in enumerate(spec["versions"]):
        yield from _version_faults(version, f"spec.versions[{index}]")


def _version_faults(version: Object, path: str) -> Iterator[Cause]:
    if not VERSION_NAME.fullmatch(version["name"]):
        yield invalid_value(f"{path}.name", quoted(version["name"]), metadata.LABEL_WORDS)
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if not isinstance(schema, Mapping):
        yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
        return
    path_of_schema = f"{path}.schema.openAPIV3Schema"
    if schema.get("type") != "object":
        yield invalid_value(f"{path_of_schema}.type", quoted(schema.get("type", "")), "must be object at the root")
    yield from _schema_faults(schema, path_of_schema)
    try:
        compile_rules(schema, path_of_schema)
    except RuleError as error:
        yield invalid_value(error.where, quoted(error.expression), f"compilation failed: {error.why}")
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column_faults(column, f"{path}.additionalPrinterColumns[{index}]")
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        for name, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
            if not scale.get(name, "").startswith(start):
                yield invalid_value(
                    f"{path}.subresources.scale.{name}",
                    quoted(scale.get(name, "")),
                    f"should be a json path under {start[:-1]}",
                )


def _column_faults(column: Object, path: str) -> Iterator[Cause]:
    for name in ("name", "type", "jsonPath"):
        if not column.get(name):
            yield required(f"{path}.{name}")
    if column.get("type") and column["type"] not in COLUMN_TYPES:
        yield unsupported(f"{path}.type", column["type"], COLUMN_TYPES)
    if column.get("jsonPath") and tables.parse_path(column["jsonPath"]) is None:
        yield invalid_value(f"{path}.jsonPath", quoted(column["jsonPath"]), "not a JSON path that can be evaluated")


def _schema_faults(schema: Schema, path: str) -> Iterator[Cause]:
    for name in schema:
        if name not in KEYWORDS:
            yield Cause(
                f"{path}.{name}", "FieldValueForbidden", "Forbidden: not a field of JSONSchemaProps that is read"
            )
    kind = schema.get("type")
    if kind and kind not in TYPES:
        yield unsupported(f"{path}.type", kind, TYPES)
    if not kind and not (
        schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        yield required(f"{path}.type", "must not be empty for specified object fields")
    if pattern := schema.get("pattern"):
        try:
            re.compile(pattern)
        except re.error as error:
            yield invalid_value(
                f"{path}.pattern", quoted(pattern), f"must be a valid regular expression, but isn't: {error}"
            )
    if kind == "array" and not isinstance(schema.get("items"), Mapping):
        yield required(f"{path}.items", "must be specified")
    yield from _list_faults(schema, path)
    if "default" in schema:
        yield from _default_faults(schema, path)
    for name, inner in (schema.get("properties") or {}).items():
        yield from _schema_faults(inner, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), Mapping):
            yield from _schema_faults(schema[name], f"{path}.{name}")


def _list_faults(schema: Schema, path: str) -> Iterator[Cause]:
    list_type = schema.get("x-kubernetes-list-type")
    if list_type is not None and list_type not in {"atomic", "set", "map"}:
        yield unsupported(f"{path}.x-kubernetes-list-type", list_type, ["atomic", "map", "set"])
    if list_type == "map" and not schema.get("x-kubernetes-list-map-keys"):
        yield required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")


def _default_faults(schema: Schema, path: str) -> Iterator[Cause]:
    unknown: list[str] = []
    value = prune(default(schema["default"], schema), schema, "", unknown)
    if unknown:
        shown = quoted(schema["default"])
        yield invalid_value(f"{path}.default", shown, f"must not have unknown fields, but has {', '.join(unknown)}")
    for cause in validate(value, schema, "default"):
        yield Cause(f"{path}.{cause.field}", cause.reason, cause.message)


def fill(definition: Object) -> None:
    """Fill in what Kubernetes derives in the spec; leaves alone what is too broken to derive from."""
    spec = definition.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("names"), dict):
        return
    names = dict(spec["names"])
    if isinstance(kind := names.get("kind"), str) and kind:
        names = {"singular": kind.lower(), "listKind": f"{kind}List"} | names
    definition["spec"] = {"conversion": {"strategy": "None"}, **spec, "names": names}
    definition["spec"].pop("preserveUnknownFields", None)


def complete(definition: Object) -> None:
    """Give an accepted definition its status."""
    spec = definition["spec"]
    names = spec["names"]
    status = definition.get("status") or {}
    stored = [version["name"] for version in spec["versions"] if version.get("storage")]
    previous = [name for name in status.get("storedVersions") or [] if name not in stored]
    conditions = status.get("conditions") or [
        _condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        _condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    definition["status"] = {
        "conditions": conditions,
        "acceptedNames": dict(names),
        "storedVersions": [*previous, *stored],
    }


def _condition(name: str, reason: str, message: str) -> Object:
    fields = {
        "type": name,
        "status": "True",
        "lastTransitionTime": metadata.now(),
        "reason": reason,
        "message": message,
    }
    return dict(fields)


def resource_of(definition: Object) -> str:
    """The group-resource a definition serves."""
    spec = definition["spec"]
    return f"{spec['names']['plural']}.{spec['group']}"


def kinds_of(definition: Object) -> list[Kind]:
    """The served versions, best first as discovery lists them."""
    versions = [version for version in definition["spec"]["versions"] if version.get("served")]
    return [_kind(definition, version) for version in versions]


def _kind(definition: Object, version: Object) -> Kind:
    spec = definition["spec"]
    names = spec["names"]
    schema = version["schema"]["openAPIV3Schema"]
    subresources = version.get("subresources") or {}
    storage = next(other["name"] for other in spec["versions"] if other.get("storage"))
    columns = version.get("additionalPrinterColumns") or [
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    ]
    return Kind(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
        list_kind=names.get("listKind") or names["kind"] + "List",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        schema=whole(schema),
        rules=compile_rules(schema),
        status="status" in subresources,
        scale=_scale(subresources.get("scale")),
        columns=tuple(_column(column) for column in columns),
        selectable=tuple(field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()),
        storage_version=storage,
        custom=True,
        generations=True,
        unconditional_update=False,
    )


def _scale(paths: Mapping[str, Any] | None) -> Scale | None:
    if paths is None:
        return None
    return Scale(paths["specReplicasPath"], paths["statusReplicasPath"], paths.get("labelSelectorPath", ""))


def _column(column: Mapping[str, Any]) -> Column:
    return Column(
        column["name"], column["type"], column["jsonPath"], column.get("description", ""), column.get("format", ""),
        column.get("priority", 0),
    )  # fmt: skip
