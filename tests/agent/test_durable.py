from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent.durable import write_durably


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_durably(path, b"first, and long")
    write_durably(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_no_draft_behind(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError, match="taken"):
        write_durably(path, b"content")
    assert list(tmp_path.iterdir()) == [path]
