"""Writes openclaw.json, and keeps what others changed in it.

The file is rendered from the template beside this module. `${VAR}` stays as it is: OpenClaw reads the variable itself,
so no secret is ever written here, and a key whose variable is not set is left out. What the template cannot say for
itself: warm instances, which nobody talks to yet, have neither heartbeat nor dreaming, so that they call no model;
`bootstrapMaxChars` makes room for long instructions in AGENTS.md, of which OpenClaw would show only a part; and
`gateway.trustedProxies` names the supervisor, without which OpenClaw refuses whatever comes through its proxy.

A file that still is what was last rendered is replaced by the new rendering. A file that anybody changed, a person or
the agent itself, is never overwritten: only the keys in OWNED, on which the supervisor depends, are set in it, and all
else is left alone. Beside the file, `openclaw.json.rendered` holds the hashes by which the two are told apart: of the
last rendering and of the one before, written first, so that a kill between the two files does no harm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import orjson

from agent.durable import write_durably

OWNED = (
    ("gateway", "mode"),
    ("gateway", "port"),
    ("gateway", "bind"),
    ("gateway", "auth"),
    ("gateway", "trustedProxies"),
    ("gateway", "reload"),
    ("agents", "defaults", "workspace"),
)
_TEMPLATE = Path(__file__).with_name("openclaw.json")
_REFERENCE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")
_ABSENT = object()


class Kept(Enum):
    """What became of the file."""

    WRITTEN = "written"
    UNTOUCHED = "as it was"
    MERGED = "changed by others: only the keys of the supervisor were set"
    UNREADABLE = "changed by others and not plain JSON: left alone"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin of OpenClaw: its directory and what its manifest calls it."""

    directory: Path
    id: str


def render(
    environment: Mapping[str, str], *, port: int, workspace: Path, log_file: Path, plugins: tuple[Plugin, ...]
) -> dict[str, Any]:
    """The configuration, less every key that refers to a variable which is not set."""
    config = _resolvable(orjson.loads(_TEMPLATE.read_bytes()), environment)
    config["gateway"]["port"] = port
    config["agents"]["defaults"]["workspace"] = str(workspace)
    config["logging"]["file"] = str(log_file)
    if plugins:
        config["plugins"]["load"] = {"paths": [str(plugin.directory) for plugin in plugins]}
        # Being in a load path makes a plugin known; without an entry it stays off.
        config["plugins"]["entries"] |= {plugin.id: {"enabled": True} for plugin in plugins}
    return dict(config)


def keep(path: Path, config: dict[str, Any]) -> Kept:
    """Bring the file in line with a rendering, as this module's description says."""
    record = path.with_name(f"{path.name}.rendered")
    content = orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    known = record.read_text(errors="replace").split() if record.exists() else []
    there = path.read_bytes() if path.exists() else None
    if there == content and _digest(content) in known:
        return Kept.UNTOUCHED
    if there is None or there == content or _digest(there) in known:
        write_durably(record, "\n".join(dict.fromkeys([_digest(content), *known[:1]])).encode() + b"\n")
        write_durably(path, content)
        return Kept.WRITTEN
    return _merge(path, there, config)


def _merge(path: Path, there: bytes, config: dict[str, Any]) -> Kept:
    try:
        theirs = orjson.loads(there)
    except orjson.JSONDecodeError:
        # OpenClaw reads JSON with comments, too. What matters most it is also told by options and variables.
        return Kept.UNREADABLE
    if not isinstance(theirs, dict):
        return Kept.UNREADABLE
    merged = theirs
    for keys in OWNED:
        merged = _with(merged, keys, _at(config, keys))
    if merged == theirs:
        return Kept.UNTOUCHED
    write_durably(path, orjson.dumps(merged, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return Kept.MERGED


def _resolvable(value: Any, environment: Mapping[str, str]) -> Any:
    """The value without what refers to unset variables, and without what that leaves empty; _ABSENT if all does."""
    if isinstance(value, str):
        names = _REFERENCE.findall(value)
        return value if all(environment.get(name, "").strip() for name in names) else _ABSENT
    if not isinstance(value, dict):
        return value
    rest = {key: kept for key, one in value.items() if (kept := _resolvable(one, environment)) is not _ABSENT}
    return rest if rest or not value else _ABSENT


def _at(config: dict[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = config
    for key in keys:
        value = value[key]
    return value


def _with(config: dict[str, Any], keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    key, *rest = keys
    if not rest:
        return {**config, key: value}
    inner = config.get(key)
    return {**config, key: _with(inner if isinstance(inner, dict) else {}, tuple(rest), value)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
