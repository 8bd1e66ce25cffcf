"""What a kind of resource is: its names, its schema, its subresources and its columns."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.standalone.rules import Rules
from controller.standalone.schema import Object

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column; a `priority` above 0 shows only in wide output."""

    name: str
    type: str
    path: str
    description: str = ""
    format: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the scale subresource reads and writes; dotted paths such as `.spec.replicas`."""

    spec_replicas: str
    status_replicas: str
    label_selector: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One served version of one resource."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool = True
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    schema: Mapping[str, Any] = field(default_factory=dict)
    rules: Rules | None = None
    status: bool = False
    scale: Scale | None = None
    columns: tuple[Column, ...] = ()
    row: Callable[[Object], list[Any]] | None = None
    selectable: tuple[str, ...] = ()
    storage_version: str = ""
    """The version objects are stored in; the served version where empty."""
    stored_as: str = ""
    """The group-resource whose objects these are, where another one stores them (events.k8s.io reads v1 events)."""
    from_stored: Callable[[Object], Object] | None = None
    to_stored: Callable[[Object], Object] | None = None
    custom: bool = False
    generations: bool = False
    """metadata.generation counts changes of the spec."""
    unconditional_update: bool = True
    """PUT without a resourceVersion overwrites."""
    create_on_update: bool = False
    """PUT of a missing object creates it."""

    @property
    def api_version(self) -> str:
        """`group/version`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The group-resource whose objects these are: `widgets.example.dev`, `configmaps`."""
        return self.stored_as or (f"{self.plural}.{self.group}" if self.group else self.plural)

    @property
    def stored_api_version(self) -> str:
        """The apiVersion written to disk."""
        if self.stored_as:
            return "v1"
        version = self.storage_version or self.version
        return f"{self.group}/{version}" if self.group else version

    def stored(self, obj: Object) -> Object:
        """`obj`, read in this version, as it is stored."""
        if self.to_stored is not None:
            return self.to_stored(obj)
        return (
            obj if obj.get("apiVersion") == self.stored_api_version else obj | {"apiVersion": self.stored_api_version}
        )

    def served(self, obj: Object) -> Object:
        """A stored object as this version shows it."""
        if self.from_stored is not None:
            return self.from_stored(obj)
        return obj if obj.get("apiVersion") == self.api_version else obj | {"apiVersion": self.api_version}


SEGMENT = re.compile(r"[^.\[\]]+")


def dotted(path: str) -> tuple[str, ...]:
    """The field names of a simple path: `.spec.replicas` is `("spec", "replicas")`."""
    return tuple(SEGMENT.findall(path))


def value_at(obj: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of field names, or None."""
    for name in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(name)
    return obj
