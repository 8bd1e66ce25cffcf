"""Every write: create, update, patch, apply and delete, from the newest version to the store."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.standalone import admission, apply, builtin, managers, metadata, patches, strategies
from controller.standalone.admission import Options
from controller.standalone.catalogue import Catalogue
from controller.standalone.kinds import Kind
from controller.standalone.schema import Object
from controller.standalone.statuses import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    not_found,
)
from controller.standalone.store import Record, Store

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
POLICY_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(frozen=True, slots=True)
class Result:
    """What a write left: the stored object, its encoding unless it was a dry run, and whether it is new or gone."""

    obj: Object
    raw: bytes | None = None
    created: bool = False
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Deletion:
    """How a delete was asked for."""

    policy: str = "Background"
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


class Writer:
    """Builds on the newest version and stages its write in the same step, so writers never lose each other's work."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    async def create(self, kind: Kind, namespace: str, body: Object, options: Options, *, name: str = "") -> Result:
        """POST."""
        new = admission.decode(kind, body, options)
        return await self._create(kind, namespace, new, options, name=name, operation="Update")

    async def _create(
        self, kind: Kind, namespace: str, new: Object, options: Options, *, name: str, operation: str
    ) -> Result:
        meta = new["metadata"]
        metadata.check_place(meta, namespace, name)
        if meta.pop("resourceVersion", "") not in {"", "0"}:
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = metadata.generated_name(meta["generateName"])
        for field in metadata.SERVER_SET:
            meta.pop(field, None)
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": metadata.now()}
        if kind.generations:
            meta["generation"] = 1
        if kind.status:
            new.pop("status", None)
        strategies.prepare(kind, new, None)
        if operation == "Update":
            meta.pop("managedFields", None)
            managers.claim_update(None, new, kind.schema, options.as_manager(kind, operation, ""))
        admission.check(kind, new, None)
        strategies.finish(kind, new)
        self._check_namespace(kind, meta)
        if self._store.head(kind.resource, meta.get("namespace", ""), meta["name"]) is not None:
            raise already_exists(kind.group, kind.plural, meta["name"])
        return await self._store_new(kind, new, options)

    async def _store_new(self, kind: Kind, new: Object, options: Options) -> Result:
        stored = kind.stored(new)
        if options.dry_run:
            return Result(stored, created=True)
        record = await self._store.write("ADDED", kind.resource, stored, None)
        return Result(record.obj, record.raw, created=True)

    def _check_namespace(self, kind: Kind, meta: Object) -> None:
        if not kind.namespaced:
            return
        namespace = meta["namespace"]
        home = self._store.head("namespaces", "", namespace)
        if home is None:
            raise not_found("", "namespaces", namespace)
        if home.obj["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(kind.group, kind.plural, meta["name"], why, [cause])

    def head(self, kind: Kind, namespace: str, name: str) -> Record:
        """The newest version, committed or about to be; 404 when there is none."""
        record = self._store.head(kind.resource, namespace, name)
        if record is None:
            raise not_found(kind.group, kind.plural, name)
        return record

    async def update(
        self, kind: Kind, namespace: str, name: str, body: Object, options: Options, subresource: str = ""
    ) -> Result:
        """PUT."""
        new = admission.decode(kind, body, options)
        metadata.check_place(new["metadata"], namespace, name)
        if self._store.head(kind.resource, namespace, name) is None and kind.create_on_update and not subresource:
            return await self._create(kind, namespace, new, options, name=name, operation="Update")
        old = self.head(kind, namespace, name)
        live = kind.served(old.obj)
        admission.check_version(kind, live, new, must=True)
        return await self._replace(kind, old, live, new, options, subresource)

    async def patch(
        self, kind: Kind, namespace: str, name: str, media_type: str, body: Any, options: Options, subresource: str = ""
    ) -> Result:
        """PATCH, apply included."""
        if media_type == patches.APPLY:
            return await self._apply(kind, namespace, name, body, options, subresource)
        change = patches.patcher(media_type, body, strategic=not kind.custom)
        old = self.head(kind, namespace, name)
        live = kind.served(old.obj)
        patched = change(live)
        new = admission.decode(kind, patched, options, live=live, patched=True)
        metadata.check_place(new["metadata"], namespace, name)
        admission.check_version(kind, live, new, must=False)
        if new["metadata"].get("finalizers") != live["metadata"].get("finalizers"):
            options.warnings += metadata.warnings(new["metadata"])
        return await self._replace(kind, old, live, new, options, subresource)

    async def change(self, kind: Kind, record: Record, change: Callable[[Object], Object], options: Options) -> Result:
        """The server's own update of a stored object, metadata it alone may set included."""
        new = change(record.obj)
        if new == record.obj:
            return Result(record.obj, record.raw)
        return await self._store_changed(kind, record, new, options)

    async def _replace(
        self, kind: Kind, old: Record, live: Object, new: Object, options: Options, subresource: str
    ) -> Result:
        settled = admission.settle_update(kind, live, new, subresource)
        claimant = options.as_manager(kind, "Update", subresource)
        reset = new["metadata"].get("managedFields")
        if reset is None or any(reset):
            settled["metadata"].pop("managedFields", None)
        managers.claim_update(live, settled, kind.schema, claimant)
        return await self._admit_changed(kind, old, live, settled, options)

    async def _admit_changed(self, kind: Kind, old: Record, live: Object, new: Object, options: Options) -> Result:
        new["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        if new == live:
            return Result(old.obj, old.raw)
        admission.check(kind, new, live)
        strategies.finish(kind, new)
        return await self._store_changed(kind, old, kind.stored(new), options)

    async def _store_changed(self, kind: Kind, old: Record, new: Object, options: Options) -> Result:
        gone = _is_finished(kind, new)
        if options.dry_run:
            return Result(new, gone=gone)
        # write() sets the resourceVersion, and the metadata may still be shared with the version before.
        new = {**new, "metadata": dict(new["metadata"])}
        record = await self._store.write("DELETED" if gone else "MODIFIED", kind.resource, new, old)
        return Result(record.obj, record.raw, gone=gone)

    async def _apply(
        self, kind: Kind, namespace: str, name: str, body: Any, options: Options, subresource: str
    ) -> Result:
        if not isinstance(body, dict):
            raise bad_request("error decoding YAML: the body of an apply must be an object")
        admission.check_identity(kind, body)
        meta = body.get("metadata")
        if fault := metadata.type_fault(meta or {}):
            raise bad_request(f"error decoding apply: {fault}")
        if (meta or {}).get("managedFields") is not None:
            raise bad_request("metadata.managedFields must be nil")
        if undeclared := apply.undeclared(body, kind.schema):
            target = f"{namespace}/{name}; {kind.api_version}, Kind={kind.kind}"
            raise ApiError(
                500, "", f"failed to create typed patch object ({target}): {undeclared}: field not declared in schema"
            )
        wanted = {**body, "metadata": dict(meta or {})}
        metadata.check_place(wanted["metadata"], namespace, name)
        me = options.as_manager(kind, "Apply", subresource)
        old = self._store.head(kind.resource, namespace, name)
        if old is None:
            if subresource:
                raise not_found(kind.group, kind.plural, name)
            return await self._apply_new(kind, namespace, name, wanted, me, options)
        live = kind.served(old.obj)
        admission.check_version(kind, live, wanted, must=False)
        merged, owners = apply.apply(live, wanted, kind.schema, me, force=options.force)
        new = admission.decode(kind, merged, options, live=live, applied=True)
        settled = admission.settle_update(kind, live, new, subresource)
        managers.write(settled, owners)
        return await self._admit_changed(kind, old, live, settled, options)

    async def _apply_new(
        self, kind: Kind, namespace: str, name: str, wanted: Object, me: managers.Manager, options: Options
    ) -> Result:
        if wanted["metadata"].get("uid"):
            raise conflict(
                kind.group, kind.plural, name, "uid mismatch: the provided object specified a uid, none exists"
            )
        _, owners = apply.apply({}, wanted, kind.schema, me, force=True)
        new = admission.decode(kind, wanted, options, applied=True)
        managers.write(new, owners)
        return await self._create(kind, namespace, new, options, name=name, operation="Apply")

    async def delete(self, kind: Kind, namespace: str, name: str, deletion: Deletion) -> Result:
        """DELETE: at once, or by deletionTimestamp while finalizers remain."""
        old = self.head(kind, namespace, name)
        _check_preconditions(kind, old, deletion)
        live = old.obj
        if live["metadata"].get("deletionTimestamp"):
            return Result(live, old.raw)
        meta = dict(live["metadata"])
        finalizers = [f for f in meta.get("finalizers") or [] if f not in POLICY_FINALIZERS.values()]
        if deletion.policy in POLICY_FINALIZERS:
            finalizers.append(POLICY_FINALIZERS[deletion.policy])
        if kind is builtin.DEFINITIONS and CLEANUP not in finalizers:
            finalizers.append(CLEANUP)
        new = {**live, "metadata": meta}
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        meta |= {"deletionTimestamp": metadata.now(), "deletionGracePeriodSeconds": 0}
        if kind.generations:
            meta["generation"] = meta.get("generation", 1) + 1
        if kind is builtin.NAMESPACES:
            new["status"] = {**(live.get("status") or {}), "phase": "Terminating"}
        if _is_finished(kind, new):
            # An object that goes at once is shown as it was: it never was terminating.
            new = {**live, "metadata": dict(live["metadata"])}
            if deletion.dry_run:
                return Result(live, gone=True)
            record = await self._store.write("DELETED", kind.resource, new, old)
            return Result(record.obj, record.raw, gone=True)
        return await self._store_changed(kind, old, new, Options(dry_run=deletion.dry_run))

    async def delete_all(self, kind: Kind, records: list[Record], deletion: Deletion) -> None:
        """DELETE of a collection; objects that went meanwhile are no failure."""

        async def delete(record: Record) -> None:
            try:
                await self.delete(kind, record.namespace, record.name, deletion)
            except ApiError as error:
                if error.code != 404:
                    raise

        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(delete(record))

    async def install(self, definition: Mapping[str, Any]) -> None:
        """Create a CustomResourceDefinition, or bring the existing one up to date."""
        kind = builtin.DEFINITIONS
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **definition}
        name = body["metadata"]["name"]
        options = Options(manager="agentpool-standalone", strictness="Strict")
        old = self._store.head(kind.resource, "", name)
        if old is None:
            await self.create(kind, "", body, options)
            return
        new = {**body, "metadata": {**body["metadata"], "resourceVersion": str(old.rv)}}
        await self.update(kind, "", name, new, options)


def _is_finished(kind: Kind, obj: Object) -> bool:
    """Being deleted, and nothing holds it any more."""
    meta = obj["metadata"]
    held = bool(meta.get("finalizers"))
    if kind is builtin.NAMESPACES:
        held = held or bool((obj.get("spec") or {}).get("finalizers"))
    return bool(meta.get("deletionTimestamp")) and not held


def _check_preconditions(kind: Kind, record: Record, deletion: Deletion) -> None:
    if deletion.uid and deletion.uid != record.uid:
        why = (
            f"the UID in the precondition ({deletion.uid}) does not match the UID in record ({record.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(kind.group, kind.kind, record.name, why)
    if deletion.resource_version and deletion.resource_version != str(record.rv):
        why = (
            f"the ResourceVersion in the precondition ({deletion.resource_version}) does not match the ResourceVersion "
            f"in record ({record.rv}). The object might have been modified"
        )
        raise conflict(kind.group, kind.kind, record.name, why)
