"""The kinds served at this moment: the core ones and those of the definitions."""

from collections.abc import Iterable, Iterator

from controller.standalone.kinds import Kind


class Catalogue:
    """Kinds by group, version and plural name."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self.generation = 0
        """Counts changes: what is derived from the catalogue is made anew when it moved."""
        self.serve(kinds)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def serve(self, kinds: Iterable[Kind]) -> None:
        """Add kinds, or replace them."""
        self._kinds.update({(kind.group, kind.version, kind.plural): kind for kind in kinds})
        self.generation += 1

    def withdraw(self, resource: str) -> None:
        """Stop serving a custom resource in every version."""
        self._kinds = {
            key: kind for key, kind in self._kinds.items() if not (kind.custom and kind.resource == resource)
        }
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind behind a path."""
        return self._kinds.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        """The kind an owner reference names, in whatever version."""
        group = api_version.rpartition("/")[0]
        return next((known for known in self if known.group == group and known.kind == kind), None)

    def stored(self, resource: str) -> Kind | None:
        """A kind through which a group-resource's objects can be written; None when nothing serves them now."""
        found = [kind for kind in self if kind.resource == resource and not kind.stored_as]
        return next((kind for kind in found if kind.version == kind.storage_version), found[0] if found else None)

    def groups(self) -> dict[str, dict[str, list[Kind]]]:
        """Kinds by group and version."""
        found: dict[str, dict[str, list[Kind]]] = {}
        for kind in self:
            found.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
        return found
