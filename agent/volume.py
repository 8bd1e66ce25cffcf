"""Moves the state of an instance to its volume, once."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path

from agent.durable import sync_directory
from agent.errors import SettingsError
from agent.log import Log

_DRAFT = ".state-draft-"


def move_to_volume(former: Path, state: Path, log: Log) -> None:
    """Move what `former` holds to `state` on the volume, unless the volume has a state already: then that one leads.

    A kill at any line loses nothing and mixes nothing. The copy grows under a name that nobody reads, becomes the
    state by one rename once every byte of it is on the disk, and only then the original is taken away, again by a
    rename first, so that half of it is never found.
    """
    volume = state.parent
    if volume.resolve().is_relative_to(former.resolve()):
        raise SettingsError(
            f"The volume {volume} lies inside the state directory {former}: mount it somewhere else, "
            "or let OPENCLAW_STATE_DIR name a directory on it."
        )
    for leftover in volume.glob(f"{_DRAFT}*"):
        shutil.rmtree(leftover)
    if _holds_anything(state) or not _holds_anything(former):
        return
    draft = volume / f"{_DRAFT}{secrets.token_hex(4)}"
    _copy(former, draft)
    # Replaces an empty directory, and fails when another process has put a state there meanwhile.
    draft.rename(state)
    sync_directory(volume)
    log.info("the state was moved to the volume", former=former, state=state)
    _retire(former, log)


def _holds_anything(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except FileNotFoundError:
        return False


def _copy(source: Path, draft: Path) -> None:
    shutil.copytree(source, draft, symlinks=True, ignore=_neither_file_nor_directory)
    for directory, _, files in os.walk(draft, topdown=False):
        for name in files:
            path = Path(directory, name)
            if not path.is_symlink():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        sync_directory(Path(directory))


def _neither_file_nor_directory(directory: str, names: list[str]) -> list[str]:
    """Sockets and pipes: they belong to a process that is gone."""
    modes = {name: Path(directory, name).lstat().st_mode for name in names}
    return [
        name for name, mode in modes.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    ]


def _retire(former: Path, log: Log) -> None:
    grave = former.with_name(f".{former.name}-moved-{secrets.token_hex(4)}")
    try:
        former.rename(grave)
        shutil.rmtree(grave)
    except OSError as error:
        # A read-only root or a layer of the image: nobody reads it as long as the volume has a state.
        log.warning("the former state could not be removed", former=former, reason=error.strerror)
