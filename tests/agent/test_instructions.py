from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.instructions import BEGIN, END, InstructionFiles, carry_block, with_block, without_block

PIECES = st.sampled_from([b"", b"\n", b"text", b"more\r\n", b"\xff", b"<!--", b"agentpool:instructions", BEGIN[:9]])
DOCUMENTS = st.lists(PIECES, max_size=8).map(b"".join)
INSTRUCTIONS = st.lists(st.sampled_from(["Do it.", "\n", BEGIN.decode(), END.decode(), "ü", " "])).map("".join)


@given(DOCUMENTS, INSTRUCTIONS)
def test_the_rest_of_the_document_is_kept_byte_for_byte(document: bytes, instructions: str) -> None:
    once = with_block(document, instructions)
    assert once.startswith(document)
    assert without_block(once) == document
    assert (once.count(BEGIN), once.count(END)) == (1, 1)


@given(DOCUMENTS, DOCUMENTS, INSTRUCTIONS, INSTRUCTIONS)
def test_a_block_replaces_the_older_one_where_it_is(before: bytes, after: bytes, first: str, second: str) -> None:
    older = with_block(before, first) + after
    newer = with_block(older, second)
    assert newer == with_block(before, second) + after
    assert with_block(newer, second) == newer


@given(DOCUMENTS, DOCUMENTS, INSTRUCTIONS)
def test_a_renewed_document_keeps_the_block_of_the_old_one(old: bytes, new: bytes, instructions: str) -> None:
    assert carry_block(with_block(old, instructions), new) == with_block(new, instructions)
    assert carry_block(old, new) == new


def test_of_several_blocks_one_is_left() -> None:
    twice = with_block(b"a\n", "one") + b"b\n" + with_block(b"", "two")
    assert with_block(twice, "three") == with_block(b"a\n", "three") + b"b\n"


@pytest.mark.parametrize("broken", [BEGIN + b"\nno end\n", END + b"\nno begin\n"], ids=["no end", "no begin"])
def test_half_a_block_is_text_like_any_other(broken: bytes) -> None:
    document = b"a\n" + broken + b"b\n"
    twice = with_block(with_block(document, "one"), "two")
    assert twice == with_block(document, "two")
    assert without_block(twice) == document


def test_a_block_that_was_moved_gains_no_line_breaks() -> None:
    moved = with_block(b"", "one").strip(b"\n")
    assert with_block(moved, "two") == with_block(b"", "two").strip(b"\n")


def test_the_files_are_whole_and_private(tmp_path: Path) -> None:
    (tmp_path / "AGENTS.md").write_text("How you work.\n")
    files = InstructionFiles(tmp_path, ("AGENTS.md", "IDENTITY.md"))
    for instructions in ("Plan trips.", "Cook."):
        files.write(instructions)
    assert (tmp_path / "INSTRUCTIONS.md").read_text() == "Cook."
    assert (tmp_path / "AGENTS.md").read_bytes() == with_block(b"How you work.\n", "Cook.")
    assert (tmp_path / "IDENTITY.md").read_bytes() == with_block(b"", "Cook.")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_without_blocks_only_the_instructions_are_written(tmp_path: Path) -> None:
    InstructionFiles(tmp_path).write("Plan trips.")
    assert [path.name for path in tmp_path.iterdir()] == ["INSTRUCTIONS.md"]
