"""metadata.managedFields: which manager set which fields, kept on every write."""

from dataclasses import dataclass, replace
from typing import Any

from controller.standalone import fieldsets
from controller.standalone.fieldsets import FieldSet
from controller.standalone.schema import Object, Schema

MOST_UPDATERS = 10


@dataclass(slots=True)
class Manager:
    """One entry of managedFields."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Entries with equal identity are one."""
        return self.name, self.operation, self.api_version, self.subresource

    def entry(self) -> Object:
        """As it is stored in the object."""
        entry: Object = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields,
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry

    def title(self) -> str:
        """As a conflict message names it."""
        if self.operation == "Apply":
            return f'"{self.name}"'
        with_subresource = f' with subresource "{self.subresource}"' if self.subresource else ""
        return f'"{self.name}"{with_subresource} using {self.api_version}'


def read(obj: Object) -> list[Manager]:
    """The managers of an object; entries nobody could use are dropped."""
    found = []
    for entry in obj.get("metadata", {}).get("managedFields") or []:
        fields = entry.get("fieldsV1")
        if entry.get("operation") in {"Apply", "Update"} and fields:
            found.append(
                Manager(
                    entry.get("manager", ""),
                    entry["operation"],
                    entry.get("apiVersion", ""),
                    entry.get("subresource", ""),
                    entry.get("time", ""),
                    fields,
                )
            )
    return found


def write(obj: Object, managers: list[Manager]) -> None:
    """Store the managers that own something."""
    kept = [manager for manager in managers if manager.fields]
    kept.sort(key=lambda manager: (manager.operation, manager.time, manager.name))
    updaters = [manager for manager in kept if manager.operation == "Update"]
    for manager in updaters[: max(0, len(updaters) - MOST_UPDATERS)]:
        kept.remove(manager)
    if kept:
        obj["metadata"]["managedFields"] = [manager.entry() for manager in kept]
    else:
        obj["metadata"].pop("managedFields", None)


def claim_update(old: Object | None, new: Object, schema: Schema, me: Manager) -> None:
    """Record in `new` that `me` updated `old` (None: created) to it."""
    if old is not None and _was_reset(new):
        new["metadata"].pop("managedFields")
        return
    managers = read(old) if old is not None else []
    before: Any = old if old is not None else {}
    changed, removed = fieldsets.compare(before, new, schema)
    changed, removed = fieldsets.without_unowned(changed), fieldsets.without_unowned(removed)
    if not changed and not removed:
        write(new, managers)
        return
    mine = next((manager for manager in managers if manager.identity == me.identity), None)
    if mine is None:
        mine = replace(me, fields={})
        managers.append(mine)
    lost = fieldsets.union(changed, removed) if changed and removed else changed or removed
    for manager in managers:
        if manager is not mine:
            kept = fieldsets.difference(manager.fields, lost)
            if kept != manager.fields:
                manager.fields = kept
        else:
            kept = fieldsets.difference(mine.fields, removed) if removed and mine.fields else mine.fields
            gained = fieldsets.union(kept, changed) if kept and changed else kept or changed
            if gained != mine.fields:
                mine.fields, mine.time = gained, me.time
    write(new, managers)


def _was_reset(new: Object) -> bool:
    # An explicit [{}] (or an empty list) asks to forget all managers.
    entries = new["metadata"].get("managedFields")
    return entries is not None and all(not entry for entry in entries)
