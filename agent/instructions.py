"""Where the agent finds its instructions: INSTRUCTIONS.md, and a marked block in files that others write, too.

OpenClaw as npm has it reads AGENTS.md and knows nothing of INSTRUCTIONS.md, so there the block carries them. Everything
outside the block belongs to the agent and its users, and stays as it is, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from agent.durable import write_durably

BEGIN = b"<!-- agentpool:instructions:begin -->"
END = b"<!-- agentpool:instructions:end -->"
_HEADING = b"# Instructions\n\nWhoever set you up wants this of you; it leads over everything else in this file.\n\n"
# The line break before the block is the block's, so that taking it out gives back exactly what was there. A begin
# that lost its end is text like any other: a block never reaches from one begin over another.
_BLOCK = re.compile(rb"\n?" + BEGIN + rb"(?:(?!" + BEGIN + rb").)*?" + END + rb"\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class InstructionFiles:
    """The files of one workspace that carry the instructions."""

    workspace: Path
    blocks: tuple[str, ...] = ()

    def write(self, instructions: str) -> None:
        """Write all of them, each whole or not at all."""
        write_durably(self.workspace / "INSTRUCTIONS.md", instructions.encode())
        for name in self.blocks:
            path = self.workspace / name
            document = path.read_bytes() if path.exists() else b""
            write_durably(path, with_block(document, instructions))


def with_block(document: bytes, instructions: str) -> bytes:
    """The document with the instructions in its block: where the first one was, or at the end."""
    # Instructions that quote a marker must not end the block.
    text = instructions.encode().replace(b"<!-- agentpool:", b"<!-- agentpool :").rstrip(b"\n")
    return _put(document, b"\n" + BEGIN + b"\n" + _HEADING + text + b"\n" + END + b"\n")


def without_block(document: bytes) -> bytes:
    """The document as it was before any block."""
    return _BLOCK.sub(b"", document)


def carry_block(old: bytes, new: bytes) -> bytes:
    """The new document with the block of the old one, if that has one."""
    found = _BLOCK.search(old)
    return new if found is None else _put(new, found[0])


def _put(document: bytes, block: bytes) -> bytes:
    found = _BLOCK.search(document)
    if found is None:
        return document + block
    # Without these two line breaks where the old one had none: they would not be the block's.
    block = block if found[0].startswith(b"\n") else block.removeprefix(b"\n")
    block = block if found[0].endswith(b"\n") else block.removesuffix(b"\n")
    return document[: found.start()] + block + without_block(document[found.end() :])
