"""What follows from deletions: dependents of owners, contents of namespaces, objects of definitions."""

import asyncio
import logging
from collections.abc import Iterator

from controller.standalone import builtin, crds
from controller.standalone.admission import Options
from controller.standalone.catalogue import Catalogue
from controller.standalone.kinds import Kind
from controller.standalone.schema import Object
from controller.standalone.statuses import ApiError
from controller.standalone.store import Event, Record, Store
from controller.standalone.writes import CLEANUP, Deletion, Writer

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
MANAGER = "agentpool-standalone"


class Garbage:
    """Level-triggered: every committed event names what to look at again; a restart looks at everything once."""

    def __init__(self, store: Store, catalogue: Catalogue, writer: Writer) -> None:
        self._store = store
        self._catalogue = catalogue
        self._writer = writer
        self._dependents: dict[str, set[tuple[str, str, str]]] = {}
        self._owned: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._queue: dict[tuple[str, str, str], None] = {}
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Look at everything once, then follow the events."""
        for resource in self._store.resources():
            for record in self._store.records(resource):
                self._index(record)
                self._ask(record.resource, record.namespace, record.name)
        self._store.listeners.append(self._on_event)

    def _on_event(self, event: Event) -> None:
        record = event.record
        key = (record.resource, record.namespace, record.name)
        if event.type == "DELETED":
            self._forget(key)
            for dependent in self._dependents.pop(record.uid, ()):
                self._ask(*dependent)
            self._ask_waiting_owners(record)
            self._ask_container(record)
        else:
            self._index(record)
            metadata = record.obj["metadata"]
            if "ownerReferences" in metadata or "deletionTimestamp" in metadata:
                self._ask(*key)

    def _index(self, record: Record) -> None:
        key = (record.resource, record.namespace, record.name)
        owners = tuple(owner["uid"] for owner in record.obj["metadata"].get("ownerReferences") or ())
        if self._owned.get(key, ()) == owners:
            return
        self._forget(key)
        if owners:
            self._owned[key] = owners
        for owner in owners:
            self._dependents.setdefault(owner, set()).add(key)

    def _forget(self, key: tuple[str, str, str]) -> None:
        for owner in self._owned.pop(key, ()):
            known = self._dependents.get(owner)
            if known is not None:
                known.discard(key)
                if not known:
                    del self._dependents[owner]

    def _ask(self, resource: str, namespace: str, name: str) -> None:
        self._queue[resource, namespace, name] = None
        self._wake.set()

    def _ask_waiting_owners(self, record: Record) -> None:
        for owner in record.obj["metadata"].get("ownerReferences") or ():
            if (found := self._owner(record.namespace, owner)) is not None:
                self._ask(found.resource, found.namespace, found.name)

    def _ask_container(self, record: Record) -> None:
        if record.namespace:
            self._ask("namespaces", "", record.namespace)
        definition = self._store.get(builtin.DEFINITIONS.resource, "", record.resource)
        if definition is not None:
            self._ask(definition.resource, "", definition.name)

    async def run(self) -> None:
        """Work for ever; what fails is tried again a little later."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            failed = []
            while self._queue:
                key = next(iter(self._queue))
                del self._queue[key]
                try:
                    await self._look_at(*key)
                except ApiError as error:
                    log.warning("collecting %s %s/%s: %s", *key, error.message)
                    failed.append(key)
            if failed:
                await asyncio.sleep(RETRY_SECONDS)
                for key in failed:
                    self._ask(*key)

    async def _look_at(self, resource: str, namespace: str, name: str) -> None:
        record = self._store.head(resource, namespace, name)
        kind = self._catalogue.stored(resource)
        if record is None or kind is None:
            return
        metadata = record.obj["metadata"]
        if metadata.get("deletionTimestamp"):
            await self._help_deletion(kind, record)
        elif metadata.get("ownerReferences"):
            await self._collect(kind, record)

    async def _help_deletion(self, kind: Kind, record: Record) -> None:
        if kind is builtin.NAMESPACES:
            await self._empty_namespace(record)
        elif kind is builtin.DEFINITIONS:
            await self._empty_definition(record)
        finalizers = record.obj["metadata"].get("finalizers") or ()
        if "orphan" in finalizers:
            for dependent_kind, dependent in self._dependents_of(record):
                await self._disown(dependent_kind, dependent, {record.uid})
            await self._drop_finalizer(kind, record.namespace, record.name, "orphan")
        elif "foregroundDeletion" in finalizers:
            blocking = False
            for dependent_kind, dependent in self._dependents_of(record):
                blocking = blocking or _blocks(dependent, record.uid)
                if not dependent.obj["metadata"].get("deletionTimestamp"):
                    await self._delete(dependent_kind, dependent, "Foreground")
                    blocking = blocking and self._store.head(dependent.resource, *dependent.place) is not None
            if not blocking:
                await self._drop_finalizer(kind, record.namespace, record.name, "foregroundDeletion")

    def _dependents_of(self, owner: Record) -> list[tuple[Kind, Record]]:
        found = []
        for resource, namespace, name in list(self._dependents.get(owner.uid, ())):
            kind, record = self._catalogue.stored(resource), self._store.head(resource, namespace, name)
            if kind is not None and record is not None:
                found.append((kind, record))
        return found

    async def _collect(self, kind: Kind, record: Record) -> None:
        """Delete an object whose owners are all gone; drop the references of those that are."""
        owners = record.obj["metadata"]["ownerReferences"]
        gone = {owner["uid"] for owner in owners if self._is_gone(record.namespace, owner)}
        if len(gone) == len(owners):
            await self._delete(kind, record, "Background")
        elif gone:
            await self._disown(kind, record, gone)

    def _owner(self, namespace: str, owner: Object) -> Record | None:
        kind = self._catalogue.by_kind(owner["apiVersion"], owner["kind"])
        if kind is None:
            return None
        record = self._store.head(kind.resource, namespace if kind.namespaced else "", owner["name"])
        return record if record is not None and record.uid == owner["uid"] else None

    def _is_gone(self, namespace: str, owner: Object) -> bool:
        # A kind nobody serves now may come back: its objects are not known to be gone.
        # Nor are owners in a namespace that an object without one cannot have.
        kind = self._catalogue.by_kind(owner["apiVersion"], owner["kind"])
        if kind is None or (kind.namespaced and not namespace):
            return False
        return self._owner(namespace, owner) is None

    async def _delete(self, kind: Kind, record: Record, policy: str) -> None:
        try:
            await self._writer.delete(kind, record.namespace, record.name, Deletion(policy, uid=record.uid))
        except ApiError as error:
            if error.code not in {404, 409}:
                raise

    async def _disown(self, kind: Kind, record: Record, uids: set[str]) -> None:
        def change(obj: Object) -> Object:
            metadata = dict(obj["metadata"])
            kept = [owner for owner in metadata.get("ownerReferences") or () if owner["uid"] not in uids]
            metadata["ownerReferences"] = kept
            if not kept:
                del metadata["ownerReferences"]
            return {**obj, "metadata": metadata}

        await self._writer.change(kind, record, change, Options(manager=MANAGER))

    async def _drop_finalizer(self, kind: Kind, namespace: str, name: str, finalizer: str) -> None:
        record = self._store.head(kind.resource, namespace, name)
        if record is None:
            return

        def change(obj: Object) -> Object:
            metadata = dict(obj["metadata"])
            metadata["finalizers"] = [other for other in metadata.get("finalizers") or () if other != finalizer]
            if not metadata["finalizers"]:
                del metadata["finalizers"]
            return {**obj, "metadata": metadata}

        await self._writer.change(kind, record, change, Options(manager=MANAGER))

    async def _empty_namespace(self, namespace: Record) -> None:
        contents = list(self._contents(namespace.name))
        for kind, record in contents:
            if not record.obj["metadata"].get("deletionTimestamp"):
                await self._delete(kind, record, "Background")
        if any(self._contents(namespace.name)):
            return
        current = self._store.head("namespaces", "", namespace.name)
        if current is not None and current.uid == namespace.uid:
            await self._writer.change(
                builtin.NAMESPACES, current, lambda obj: {**obj, "spec": {}}, Options(manager=MANAGER)
            )

    def _contents(self, namespace: str) -> Iterator[tuple[Kind, Record]]:
        for resource in self._store.resources():
            kind = self._catalogue.stored(resource)
            if kind is not None and kind.namespaced:
                for record in self._store.records(resource):
                    head = self._store.head(resource, *record.place)
                    if record.namespace == namespace and head is not None:
                        yield kind, head

    async def _empty_definition(self, definition: Record) -> None:
        resource = crds.resource_of(definition.obj)
        kind = self._catalogue.stored(resource)
        if kind is not None:
            for record in list(self._store.records(resource)):
                if not record.obj["metadata"].get("deletionTimestamp"):
                    await self._delete(kind, record, "Background")
        if not self._store.records(resource):
            await self._drop_finalizer(builtin.DEFINITIONS, "", definition.name, CLEANUP)


def _blocks(dependent: Record, owner: str) -> bool:
    owners = dependent.obj["metadata"].get("ownerReferences") or ()
    return any(known["uid"] == owner and known.get("blockOwnerDeletion") for known in owners)
