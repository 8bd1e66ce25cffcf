"""Lays out the agent's workspace from agent/workspace/, and never takes anything from the agent or its users.

A manifest in the state directory remembers the hash of every file that was laid out. A file is renewed only while it
still is what was laid out; a changed one stays as it is, and one that was deleted stays deleted. The block of
instructions in AGENTS.md is the supervisor's own and counts as no change.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

from agent.durable import write_durably
from agent.errors import SettingsError
from agent.instructions import carry_block, without_block

_PACKAGE = Path(__file__).parents[1] / "workspace"
_NOT_OURS = ""
_NO_FILE = b"\0"


def lay_out(workspace: Path, manifest: Path, package: Path = _PACKAGE) -> None:
    """Write what is missing for the first time and renew what nobody changed."""
    laid_out = _load(manifest)
    now = dict(laid_out)
    for source in sorted(package.rglob("*.md")):
        name = source.relative_to(package).as_posix()
        now[name] = _lay_out(workspace / name, source.read_bytes(), laid_out.get(name))
    if now != laid_out:
        # Written last: after a kill before it, what was laid out is recognised by its content.
        write_durably(manifest, orjson.dumps(now, option=orjson.OPT_INDENT_2))


def _load(manifest: Path) -> dict[str, str]:
    try:
        laid_out = orjson.loads(manifest.read_bytes())
    except FileNotFoundError:
        return {}
    except orjson.JSONDecodeError:
        laid_out = None
    if not isinstance(laid_out, dict) or not all(isinstance(digest, str) for digest in laid_out.values()):
        raise SettingsError(
            f"{manifest} is not JSON with a digest of each file, so nobody knows which files of the workspace are "
            "unchanged: remove it, and every file that is missing from the workspace is laid out again."
        )
    return laid_out


def _lay_out(path: Path, content: bytes, laid_out: str | None) -> str:
    """What the manifest shall say of the file: the hash of what was laid out, or that it is somebody else's."""
    there = _read(path)
    if there is None:
        if laid_out is not None:
            return laid_out
        write_durably(path, content)
        return _digest(content)
    own = _digest(without_block(there))
    if own == _digest(content):
        return own
    if own != laid_out:
        return laid_out or _NOT_OURS
    write_durably(path, carry_block(there, content))
    return _digest(content)


def _read(path: Path) -> bytes | None:
    """The file's content; None when there is none. A link or a directory in its place is somebody's change."""
    if path.is_symlink():
        return _NO_FILE
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except (IsADirectoryError, NotADirectoryError):
        return _NO_FILE


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
