"""From a decoded body to an object that may be stored: identity, pruning, defaults, validation, rules."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from controller.standalone import builtin, metadata, strategies
from controller.standalone.kinds import Kind
from controller.standalone.managers import Manager
from controller.standalone.rules import Rules
from controller.standalone.schema import Object, default, prune, without_nulls
from controller.standalone.statuses import ApiError, Cause, bad_request, conflict, invalid
from controller.standalone.validation import MISSING, invalid_value, quoted, validate

BLOCKING = {
    "FieldValueRequired",
    "FieldValueTypeInvalid",
    "FieldValueNotSupported",
    "FieldValueTooLong",
    "FieldValueTooMany",
}
UNCHECKED = Cause(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)


@dataclass(slots=True)
class Options:
    """How a write was asked for; `warnings` collects what the answer's headers say."""

    manager: str = "agentpool"
    dry_run: bool = False
    strictness: str = "Warn"
    """fieldValidation: Strict, Warn or Ignore."""
    force: bool = False
    duplicates: Sequence[str] = ()
    """Paths of fields that the body gives twice."""
    warnings: list[str] = field(default_factory=list)

    def as_manager(self, kind: Kind, operation: str, subresource: str) -> Manager:
        """The managedFields entry of this writer."""
        return Manager(self.manager, operation, kind.api_version, subresource, metadata.now(), {})


def _shown(body: Any) -> str:
    text = orjson.dumps(body).decode()
    return f"'{text}' ({text if len(text) <= 24 else text[:24] + ' ...'})"


def check_identity(kind: Kind, body: Object) -> None:
    """apiVersion and kind must be those of the resource."""
    if not kind.custom:
        # Clients with generated types leave out what the path already says.
        body.setdefault("kind", kind.kind)
        body.setdefault("apiVersion", kind.api_version)
    named, api_version = body.get("kind"), body.get("apiVersion")
    unrecognized = f"the object provided is unrecognized (must be of type {kind.kind}): Object "
    if not named or not isinstance(named, str):
        raise bad_request(f"{unrecognized}'Kind' is missing in {_shown(body)}")
    if not api_version or not isinstance(api_version, str):
        raise bad_request(f"{unrecognized}'apiVersion' is missing in {_shown(body)}")
    if named != kind.kind and not kind.custom:
        raise bad_request(f'{named} in version "{api_version}" cannot be handled as a {kind.kind}')
    if api_version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({kind.api_version})"
        )


def decode(
    kind: Kind,
    body: Object,
    options: Options,
    *,
    live: Object | None = None,
    patched: bool = False,
    applied: bool = False,
) -> Object:
    """The body without what its schema does not know, with its defaults; parts shared with `live` stay as they are.

    Nulls count as unset, except in what an apply merged: there they are values, and refused.
    """
    check_identity(kind, body)
    untouched = live is not None and body.get("metadata") is live["metadata"]
    if not untouched and (fault := metadata.type_fault(body.get("metadata") or {})):
        raise _refusal(kind, body, fault, patched=patched)
    unknown: list[str] = []
    before = live or {}
    fresh = {name: value for name, value in body.items() if name not in before or before[name] is not value}
    kept = {name: value for name, value in body.items() if name not in fresh}
    pruned = prune(fresh, kind.schema, "", unknown)
    if not applied:
        pruned = without_nulls(pruned, kind.schema if kind.custom else None)
    obj = {**kept, **default(pruned, kind.schema)}
    _report(kind, body, unknown, options, patched=patched)
    obj["metadata"] = metadata.clean(obj.get("metadata") or {})
    if not patched:
        options.warnings += metadata.warnings(obj["metadata"])
    return {"apiVersion": obj.pop("apiVersion"), "kind": obj.pop("kind"), **obj}


def _refusal(kind: Kind, body: Object, why: str, *, patched: bool) -> ApiError:
    if patched:
        cause = invalid_value("patch", quoted(orjson.dumps(body).decode()), why)
        return invalid("", "", "", [cause])
    version = kind.version if kind.group else kind.api_version
    return bad_request(f'{kind.kind} in version "{version}" cannot be handled as a {kind.kind}: {why}')


def _report(kind: Kind, body: Object, unknown: list[str], options: Options, *, patched: bool) -> None:
    if not (unknown or options.duplicates) or options.strictness == "Ignore":
        return
    problems = [f'duplicate field "{path}"' for path in options.duplicates]
    problems += [f'unknown field "{path}"' for path in unknown]
    if options.strictness == "Strict":
        raise _refusal(kind, body, "strict decoding error: " + ", ".join(problems), patched=patched)
    options.warnings += problems


def check(kind: Kind, new: Object, old: Object | None) -> None:
    """Raise 422 with everything that is wrong with `new`."""
    causes = list(metadata.faults(new["metadata"], namespaced=kind.namespaced, label_name=kind is builtin.NAMESPACES))
    if kind.custom and new.get("kind") != kind.kind:
        causes.append(invalid_value("kind", quoted(new.get("kind")), f"must be {kind.kind}"))
    if old is not None and (fault := metadata.new_finalizer_fault(old["metadata"], new["metadata"])):
        causes.append(fault)
    causes += validate(_body(new), kind.schema, "", MISSING if old is None else _body(old))
    blocked = any(cause.reason in BLOCKING for cause in causes)
    if not blocked or kind.custom:
        causes += strategies.faults(kind, new, old)
    rules = kind.rules
    if blocked and kind.custom:
        causes.append(UNCHECKED)
    elif isinstance(rules, Rules):
        causes += rules.breaches(new, MISSING if old is None else old)
    if causes:
        raise invalid(kind.group, new.get("kind") or kind.kind, new["metadata"].get("name", ""), causes)


def _body(obj: Object) -> Object:
    # ObjectMeta is checked by its own rules, in their own words.
    return {name: value for name, value in obj.items() if name != "metadata"}


def settle_update(kind: Kind, old: Object, new: Object, subresource: str) -> Object:
    """`new` with everything that this write may not change taken from `old`."""
    if subresource == "status":
        settled = {**old, "metadata": dict(old["metadata"])}
        settled.pop("status", None)
        if "status" in new:
            settled["status"] = new["status"]
        if "managedFields" in new["metadata"]:
            settled["metadata"]["managedFields"] = new["metadata"]["managedFields"]
        return settled
    settled = dict(new)
    if kind.status:
        settled.pop("status", None)
        if "status" in old:
            settled["status"] = old["status"]
    settled["metadata"] = dict(new["metadata"])
    if causes := list(metadata.immutable_faults(old["metadata"], new["metadata"])):
        raise invalid(kind.group, kind.kind, old["metadata"]["name"], causes)
    metadata.carry(old["metadata"], settled["metadata"])
    strategies.prepare(kind, settled, old)
    if kind.generations and _spec_changed(kind, old, settled):
        settled["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
    return settled


def _spec_changed(kind: Kind, old: Object, new: Object) -> bool:
    ignored = {"metadata", "status"} if kind.status else {"metadata"}
    return any(old.get(name) != new.get(name) for name in (old.keys() | new.keys()) - ignored)


def check_version(kind: Kind, old: Object, new: Object, *, must: bool) -> None:
    """409 when `new` was made from another version, or another object, than `old`; 422 when it must say which."""
    given, uid = new["metadata"].get("resourceVersion", ""), new["metadata"].get("uid", "")
    name = old["metadata"]["name"]
    if uid and uid != old["metadata"]["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
        raise conflict(kind.group, kind.plural, name, why)
    if not given:
        if must and not kind.unconditional_update:
            cause = invalid_value("metadata.resourceVersion", "0", "must be specified for an update")
            raise invalid(kind.group, kind.plural, name, [cause])
        return
    if given != old["metadata"]["resourceVersion"]:
        raise conflict(kind.group, kind.plural, name)
