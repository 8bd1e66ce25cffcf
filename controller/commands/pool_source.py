"""The pool that a command is about: from the API server, or from a file without any."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from controller.commands.api_server import api_server
from controller.errors import Misconfigured, Missing, Refused
from controller.model import AgentPool
from controller.settings import Settings

DEEPEST = 100
"""Levels to which a file may be nested."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Python's own takes a minute for some kilobytes of brackets."""
PULL_KEY = ".dockerconfigjson"


@dataclass(frozen=True, slots=True)
class PoolSource:
    """A pool, and what its images are fetched with."""

    pool: AgentPool
    pull_secret: str | None = field(default=None, repr=False)


async def pool_from_api(name: str, namespace: str | None, settings: Settings) -> PoolSource:
    """The pool of that name, with the content of its imagePullSecret."""
    async with api_server(settings, namespace) as api:
        pool = await api.read(AgentPool, name)
        docker = pool.spec.backend.docker
        secret = docker.image_pull_secret.name if docker is not None and docker.image_pull_secret is not None else None
        if secret is None:
            return PoolSource(pool)
        try:
            content = (await api.cluster.read_secret(api.namespace, secret)).content
        except Missing:
            raise Missing(f"Secret {secret} does not exist in namespace {api.namespace}: create it") from None
        if PULL_KEY not in content:
            raise Missing(f"Secret {secret} has no key {PULL_KEY}: its type must be kubernetes.io/dockerconfigjson")
        return PoolSource(pool, content[PULL_KEY])


def pool_from_file(path: Path, name: str | None) -> PoolSource:
    """The only pool of a YAML file, or the one of that name; ``-`` is standard input."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        documents = _documents(text)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{path} is no text: name the YAML file of a pool") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # PyYAML stumbles over tags that do not fit their values.
        raise Misconfigured(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    pools = [each for each in _items(documents) if each.get("kind") == AgentPool.kind_name]
    named = [each for each in pools if name is None or (each.get("metadata") or {}).get("name") == name]
    if len(named) != 1:
        found = f"holds {len(pools)} AgentPools" if pools else "holds no AgentPool"
        raise Misconfigured(f"{path} {found}{f', {len(named)} of them named {name}' if name else ''}: name one of them")
    try:
        return PoolSource(AgentPool.parse(named[0]))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise Refused("InvalidPool", f"{path}: {where}: {problem['msg']}") from None


def _documents(text: str) -> list[dict[str, Any]]:
    depth = 0
    # Seen before anything is built: many thousand levels would overflow the stack of the C library.
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    loaded = yaml.load_all(text, Loader=_LOADER)
    return [each for each in loaded if isinstance(each, dict)]


def _items(documents: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for document in documents:
        items = document.get("items") if str(document.get("kind", "")).endswith("List") else None
        yield from (each for each in items if isinstance(each, dict)) if isinstance(items, list) else [document]
