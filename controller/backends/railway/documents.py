"""What is asked of Railway: one GraphQL operation a file in ``queries``, named like the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Document:
    """One operation."""

    name: str
    """Its name, and that of its file without the ending."""
    text: str
    mutation: bool
    """Whether it changes something, so that it must not be sent twice blindly."""


def _load() -> Mapping[str, Document]:
    found = {}
    for file in resources.files(__package__).joinpath("queries").iterdir():
        name, dot, ending = file.name.partition(".")
        if dot and ending == "graphql":
            text = file.read_text(encoding="utf-8")
            found[name] = Document(name, text, mutation=text.startswith("mutation "))
    return MappingProxyType(found)


DOCUMENTS = _load()
"""Every operation by its name."""
