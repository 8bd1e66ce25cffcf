"""An API server in memory, as far as the controller can tell it from a real one: its state, and its port."""

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Literal

from pydantic import ValidationError

from controller.errors import Conflict, Missing, Refused
from controller.model import KINDS, AgentClaim, AgentInstance, AgentPool, Resource
from controller.ports import Announcement, AnyResource, StoredSecret
from tests.doubles.wire import Wire

ObjectKey = tuple[str, str]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """One request that changed something, or could have."""

    by: str
    verb: Literal["create", "patch", "delete"]
    kind: str
    subresource: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One step in the life of an object. ``DELETED`` carries its last state."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    before: Resource | None
    thing: Resource
    by: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it is kept, and as it is read."""

    document: Document
    thing: Resource


class ApiServer:
    """The state. Every method is one moment: nothing happens in between."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._objects: dict[type[Resource], dict[ObjectKey, Stored]] = {kind: {} for kind in KINDS}
        self._versions = count(1000)
        self._uids = count(1)
        self.secrets: dict[ObjectKey, Mapping[str, str]] = {}
        """Those of users."""
        self.owned_secrets: dict[ObjectKey, Document] = {}
        """Those that controllers made."""
        self.misfits: set[str] = set()
        """Uids of objects that controllers cannot read, as if they were older than whoever wrote those."""
        self.secret_reads = 0
        self.config_maps: dict[ObjectKey, Mapping[str, str]] = {}
        self.events: list[tuple[str, Announcement]] = []
        self.writes: list[Write] = []
        self.observers: list[Callable[[Change], None]] = []
        self.deletion_observers: list[Callable[[Resource, str], None]] = []
        """Told of a request for deletion before it is granted."""

    def list(self, kind: type[AnyResource]) -> Sequence[AnyResource]:
        """All objects of a kind."""
        return [stored.thing for stored in self._objects[kind].values()]  # type: ignore[misc]

    def read(self, kind: type[AnyResource], namespace: str, name: str) -> AnyResource:
        """One object."""
        return self._stored(kind, namespace, name).thing  # type: ignore[return-value]

    def find(self, kind: type[AnyResource], name: str, namespace: str = "default") -> AnyResource | None:
        """One object, if it is there."""
        stored = self._objects[kind].get((namespace, name))
        return stored.thing if stored is not None else None  # type: ignore[return-value]

    def by_uid(self, kind: type[AnyResource], uid: str) -> AnyResource | None:
        """One object by its uid, if it is there."""
        return next((thing for thing in self.list(kind) if thing.metadata.uid == uid), None)

    def create(self, kind: type[AnyResource], namespace: str, body: Mapping[str, Any], *, by: str) -> AnyResource:
        """Create an object; what it says of its status is dropped."""
        meta = body["metadata"]
        self.writes.append(Write(by, "create", kind.kind_name, "", meta["name"]))
        if (namespace, meta["name"]) in self._objects[kind]:
            raise Conflict(f"{kind.plural} {meta['name']!r} already exists")
        document = {
            "metadata": {
                **meta,
                "namespace": namespace,
                "uid": f"{kind.plural[5:-1]}-{next(self._uids)}",
                "generation": 1,
                "creationTimestamp": _stamp(self._clock()),
            },
            "spec": body.get("spec", {}),
        }
        return self._store(kind, document, None, by)  # type: ignore[return-value]

    def patch(
        self,
        kind: type[AnyResource],
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: str = "",
        by: str,
    ) -> AnyResource:
        """A JSON merge patch, of the status or of everything but the status."""
        self.writes.append(Write(by, "patch", kind.kind_name, subresource, name))
        old = self._stored(kind, namespace, name)
        meta, wished = old.document["metadata"], dict(body.get("metadata", {}))
        for guard in ("uid", "resourceVersion"):
            if wished.pop(guard, meta[guard]) != meta[guard]:
                raise Conflict(f"{kind.plural} {name!r}: the precondition on {guard} does not hold")
        if subresource:
            document = old.document | {"status": merge(old.document.get("status", {}), body.get("status", {}))}
        else:
            document = old.document | {
                "metadata": merge(meta, wished),
                "spec": merge(old.document["spec"], body.get("spec", {})),
            }
            if document["spec"] != old.document["spec"]:
                document["metadata"] = document["metadata"] | {"generation": meta["generation"] + 1}
        if document == old.document:
            return old.thing  # type: ignore[return-value]
        if meta.get("deletionTimestamp") and not document["metadata"].get("finalizers"):
            return self._remove(kind, document, old, by)  # type: ignore[return-value]
        return self._store(kind, document, old, by)  # type: ignore[return-value]

    def delete(
        self,
        kind: type[AnyResource],
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        version: int | None = None,
        by: str,
    ) -> AnyResource | None:
        """Delete it, or mark it where finalizers hold it; ``None`` where nothing is left."""
        self.writes.append(Write(by, "delete", kind.kind_name, "", name))
        old = self._stored(kind, namespace, name)
        meta = old.document["metadata"]
        if uid is not None and meta["uid"] != uid:
            raise Conflict(f"{kind.plural} {name!r}: the precondition on uid does not hold")
        if version is not None and old.thing.metadata.version != version:
            raise Conflict(f"{kind.plural} {name!r}: the precondition on resourceVersion does not hold")
        if meta.get("deletionTimestamp"):
            return old.thing  # type: ignore[return-value]
        for observer in self.deletion_observers:
            observer(old.thing, by)
        if not meta.get("finalizers"):
            self._remove(kind, old.document, old, by)
            return None
        marked = {"deletionTimestamp": _stamp(self._clock()), "generation": meta["generation"] + 1}
        return self._store(kind, old.document | {"metadata": meta | marked}, old, by)  # type: ignore[return-value]

    def read_secret(self, namespace: str, name: str) -> StoredSecret:
        """A Secret, whoever made it."""
        key = namespace, name
        if key in self.secrets:
            return StoredSecret(name, "1", None, self.secrets[key])
        if key not in self.owned_secrets:
            raise Missing(f"secrets {name!r} not found")
        document = self.owned_secrets[key]
        meta, data = document["metadata"], document["data"]
        owner = next((reference["uid"] for reference in meta.get("ownerReferences", ())), None)
        content = {entry: b64decode(value).decode() for entry, value in data.items()}
        return StoredSecret(meta["uid"], meta["resourceVersion"], owner, content, document["type"])

    def create_secret(self, namespace: str, body: Mapping[str, Any], *, by: str) -> StoredSecret:
        """Create a Secret."""
        name = body["metadata"]["name"]
        self.writes.append(Write(by, "create", "Secret", "", name))
        if (namespace, name) in self.secrets.keys() | self.owned_secrets.keys():
            raise Conflict(f"secrets {name!r} already exists")
        made = {"uid": f"secret-{next(self._uids)}", "resourceVersion": str(next(self._versions))}
        self.owned_secrets[namespace, name] = {**body, "metadata": body["metadata"] | made}
        return self.read_secret(namespace, name)

    def patch_secret(self, namespace: str, name: str, body: Mapping[str, Any], *, by: str) -> StoredSecret:
        """A JSON merge patch of a Secret that a controller made."""
        self.writes.append(Write(by, "patch", "Secret", "", name))
        old = self.owned_secrets.get((namespace, name))
        if old is None:
            raise Missing(f"secrets {name!r} not found")
        wished = dict(body.get("metadata", {}))
        for guard in ("uid", "resourceVersion"):
            if wished.pop(guard, old["metadata"][guard]) != old["metadata"][guard]:
                raise Conflict(f"secrets {name!r}: the precondition on {guard} does not hold")
        new = old | {"metadata": merge(old["metadata"], wished), "data": merge(old["data"], body.get("data", {}))}
        if new != old:
            new["metadata"] = new["metadata"] | {"resourceVersion": str(next(self._versions))}
            self.owned_secrets[namespace, name] = new
        return self.read_secret(namespace, name)

    def collect_garbage(self) -> None:
        """What the garbage collector does: dependents go with their owner."""
        owners = {thing.metadata.uid for kind in KINDS for thing in self.list(kind)}
        for kind in KINDS:
            for thing in self.list(kind):
                references = thing.metadata.owner_references
                if references and not thing.metadata.deleting and not any(r.uid in owners for r in references):
                    self.delete(kind, *thing.key, by="garbage-collector")
        for key, document in tuple(self.owned_secrets.items()):
            references = document["metadata"].get("ownerReferences", ())
            if references and not any(reference["uid"] in owners for reference in references):
                del self.owned_secrets[key]

    def count_writes(self, by: str) -> Counter[tuple[str, str, str]]:
        """How often a client wrote what: by verb, kind and subresource."""
        return Counter((w.verb, w.kind, w.subresource) for w in self.writes if w.by == by)

    def _stored(self, kind: type[Resource], namespace: str, name: str) -> Stored:
        stored = self._objects[kind].get((namespace, name))
        if stored is None:
            raise Missing(f"{kind.plural} {name!r} not found")
        return stored

    def _store(self, kind: type[Resource], document: Document, old: Stored | None, by: str) -> Resource:
        stored = self._versioned(kind, document)
        if old is not None:
            _check_transition(old, stored)
        _check(stored.thing)
        self._objects[kind][stored.thing.key] = stored
        self._tell(Change("MODIFIED" if old else "ADDED", old.thing if old else None, stored.thing, by))
        return stored.thing

    def _remove(self, kind: type[Resource], document: Document, old: Stored, by: str) -> Resource:
        stored = self._versioned(kind, document)
        del self._objects[kind][old.thing.key]
        self._tell(Change("DELETED", old.thing, stored.thing, by))
        return stored.thing

    def _versioned(self, kind: type[Resource], document: Document) -> Stored:
        document = document | {"metadata": document["metadata"] | {"resourceVersion": str(next(self._versions))}}
        try:
            return Stored(document, kind.parse(document))
        except ValidationError as error:
            raise Refused("Invalid", f"{kind.kind_name} does not fit its schema: {error}") from None

    def _tell(self, change: Change) -> None:
        for observer in tuple(self.observers):
            observer(change)


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check(thing: Resource) -> None:
    if isinstance(thing, AgentPool) and thing.spec.min_idle > thing.spec.max_total:
        raise Refused("Invalid", "minIdle may not exceed maxTotal")


def _check_transition(old: Stored, new: Stored) -> None:
    before, after = old.document["spec"], new.document["spec"]
    if isinstance(new.thing, AgentClaim) and before != after:
        raise Refused("Invalid", "a claim cannot be changed")
    if isinstance(new.thing, AgentInstance):
        if "claimRef" in before and after.get("claimRef") != before["claimRef"]:
            raise Refused("Invalid", "an instance that belongs to a claim is never handed to another")
        if any(before.get(name) != after.get(name) for name in before.keys() | after.keys() if name != "claimRef"):
            raise Refused("Invalid", "an instance is never changed in place")


class MemoryCluster:
    """The port ``Cluster`` of one client of an ``ApiServer``."""

    def __init__(self, server: ApiServer, wire: Wire, name: str = "controller") -> None:
        self._server = server
        self._wire = wire
        self._name = name

    async def list(self, kind: type[AnyResource]) -> Sequence[AnyResource]:
        def effect() -> Sequence[AnyResource]:
            # As the client does it: an instance that cannot be read spoils the list, another object is left out.
            things = self._server.list(kind)
            readable = [thing for thing in things if thing.metadata.uid not in self._server.misfits]
            return [self._read(thing) for thing in things] if kind is AgentInstance else readable

        return await self._wire.call(f"list {kind.plural}", effect, write=False)

    async def read(self, kind: type[AnyResource], namespace: str, name: str) -> AnyResource:
        what = f"get {kind.plural} {name}"
        return await self._wire.call(what, lambda: self._read(self._server.read(kind, namespace, name)), write=False)

    async def create(self, kind: type[AnyResource], namespace: str, body: Mapping[str, Any]) -> AnyResource:
        what = f"create {kind.plural} {body['metadata']['name']}"
        return await self._wire.call(what, lambda: self._server.create(kind, namespace, body, by=self._name))

    async def patch(
        self,
        kind: type[AnyResource],
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        subresource: Literal["", "status"] = "",
    ) -> AnyResource:
        def effect() -> AnyResource:
            return self._server.patch(kind, namespace, name, body, subresource=subresource, by=self._name)

        return await self._wire.call(f"patch {kind.plural} {name} {subresource}".rstrip(), effect)

    async def delete(
        self, kind: type[AnyResource], namespace: str, name: str, *, uid: str, version: int | None = None
    ) -> AnyResource | None:
        def effect() -> AnyResource | None:
            return self._server.delete(kind, namespace, name, uid=uid, version=version, by=self._name)

        return await self._wire.call(f"delete {kind.plural} {name}", effect)

    async def read_secret(self, namespace: str, name: str) -> StoredSecret:
        def effect() -> StoredSecret:
            self._server.secret_reads += 1
            return self._server.read_secret(namespace, name)

        return await self._wire.call(f"get secrets {name}", effect, write=False)

    async def create_secret(self, namespace: str, body: Mapping[str, Any]) -> StoredSecret:
        what = f"create secrets {body['metadata']['name']}"
        return await self._wire.call(what, lambda: self._server.create_secret(namespace, body, by=self._name))

    async def patch_secret(self, namespace: str, name: str, body: Mapping[str, Any]) -> StoredSecret:
        what = f"patch secrets {name}"
        return await self._wire.call(what, lambda: self._server.patch_secret(namespace, name, body, by=self._name))

    async def read_config_map(self, namespace: str, name: str) -> Mapping[str, str]:
        def effect() -> Mapping[str, str]:
            if (namespace, name) not in self._server.config_maps:
                raise Missing(f"configmaps {name!r} not found")
            return self._server.config_maps[namespace, name]

        return await self._wire.call(f"get configmaps {name}", effect, write=False)

    async def announce(self, announcement: Announcement) -> None:
        what = f"event {announcement.about.metadata.name} {announcement.reason}"
        await self._wire.call(what, lambda: self._server.events.append((self._name, announcement)))

    def _read(self, thing: AnyResource) -> AnyResource:
        if thing.metadata.uid in self._server.misfits:
            raise Refused("UnexpectedObject", f"{thing.kind_name} {thing.metadata.name} does not fit the schema")
        return thing
