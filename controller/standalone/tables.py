"""Tables: what `kubectl get` prints, rendered here."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from controller.standalone.kinds import Column, Kind
from controller.standalone.schema import Object

NAME_DESCRIPTION = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
STEP = re.compile(
    r"""\.?(?P<name>[A-Za-z0-9_$/-]+(?:\\\.[A-Za-z0-9_$/-]+)*)      # .field, dots escaped by a backslash
      | \[\?\(@\.(?P<key>[^=!<>\s]+)\s*(?P<operator>==|!=)\s*(?P<wanted>"[^"]*"|'[^']*'|[^)\s]+)\s*\)\]
      | \[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
      | \[(?P<index>-?\d+)\]
      | (?P<every>\[\*\]|\.\*)""",
    re.VERBOSE,
)


def age(created: Any, now: datetime | None = None) -> str:
    """How long ago a time was, as kubectl says it: `5m30s`, `3h`, `12d`."""
    if not created:
        return "<unknown>"
    try:
        moment = datetime.fromisoformat(str(created).upper().replace("Z", "+00:00"))
    except ValueError:
        return "<invalid>"
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    return human_duration(seconds)


def human_duration(seconds: int) -> str:
    """Kubernetes' short form of a duration: at most two units, the smaller one dropped when it hardly matters."""
    if seconds < -1:
        return "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return _pair(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    return _pair(days // 365, "y", days % 365, "d") if days < 365 * 8 else f"{days // 365}y"


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


@lru_cache(maxsize=512)
def parse_path(path: str) -> tuple[re.Match[str], ...] | None:
    """The steps of a JSONPath such as `.status.conditions[?(@.type=="Ready")].status`; None when it cannot be read."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps = []
    at = 0
    while at < len(text):
        match = STEP.match(text, at)
        if match is None:
            return None
        steps.append(match)
        at = match.end()
    return tuple(steps)


def find(value: Any, path: str) -> list[Any]:
    """Every value at a JSONPath."""
    found = [value]
    for step in parse_path(path) or ():
        found = [inner for item in found for inner in _step(item, step)]
    return found


def _step(value: Any, step: re.Match[str]) -> Iterator[Any]:
    name = step["quoted"] if step["quoted"] is not None else step["name"]
    if name is not None:
        name = name.replace("\\.", ".")
        if isinstance(value, dict) and name in value:
            yield value[name]
    elif step["every"]:
        yield from value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    elif step["index"] is not None:
        if isinstance(value, list) and -len(value) <= int(step["index"]) < len(value):
            yield value[int(step["index"])]
    elif isinstance(value, list):
        yield from (item for item in value if _passes(item, step))


def _passes(item: Any, step: re.Match[str]) -> bool:
    found = find(item, "." + step["key"])
    wanted = step["wanted"].strip("\"'")
    equal = bool(found) and _text(found[0]) == wanted
    return equal if step["operator"] == "==" else bool(found) and not equal


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(obj: Object, column: Column) -> Any:
    found = [value for value in find(obj, column.path) if value is not None]
    if not found:
        return "<unknown>" if column.type == "date" else None
    if column.type == "date":
        return age(found[0])
    if len(found) > 1 and column.type == "string":
        return ",".join(_text(value) for value in found)
    return _typed(found[0], column.type)


def _typed(value: Any, kind: str) -> Any:
    match kind:
        case "integer":
            return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "number":
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
    return _composite(value) if isinstance(value, dict | list) else _text(value)


def _composite(value: Any) -> str:
    # As kubectl shows structures in a column: like Go's %v of the decoded JSON.
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_composite(inner)}" for key, inner in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_composite(item) for item in value) + "]"
    return _text(value)


def column_definitions(kind: Kind) -> list[Object]:
    """The header of a kind's table."""
    if kind.row is not None:
        columns = list(kind.columns)
    else:
        columns = [Column("Name", "string", "", NAME_DESCRIPTION, "name"), *kind.columns]
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description or _described(column),
            "priority": column.priority,
        }
        for column in columns
    ]


def _described(column: Column) -> str:
    if not column.path:
        return NAME_DESCRIPTION if column.format == "name" else column.name
    return f"Custom resource definition column (in JSONPath format): {column.path}"


def cells(kind: Kind, obj: Object) -> list[Any]:
    """One row's cells."""
    if kind.row is not None:
        return kind.row(obj)
    return [obj["metadata"]["name"], *(_cell(obj, column) for column in kind.columns)]


def partial(obj: Object) -> Object:
    """PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def row(kind: Kind, obj: Object, include: str) -> Object:
    """One row; `include` is the includeObject parameter: Metadata, Object or None."""
    shown = obj if include == "Object" else None if include == "None" else partial(obj)
    return {"cells": cells(kind, obj), "object": shown}


def table(kind: Kind, rows: list[Object], metadata: Object, *, header: bool = True) -> Object:
    """A Table; later events of a watch leave the header out."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": column_definitions(kind) if header else None,
        "rows": rows,
    }
