"""A target: one parser of bytes from outside, and what it may answer them with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
"""Inputs by target that are worth keeping: among them every one that ever broke something."""

DEEP = b"[" * 900 + b"]" * 900
"""JSON that parsers of JSON still take, and that nothing which recurses over it survives."""
TRAPS: tuple[bytes, ...] = (
    b"null", b"true", b"-1", b"0", b"1e999", b"9" * 25, b"9" * 5000, b'""', b"[]", b"{}", b'"\\u0000"', b'"\\ud800"',
    b"\x00", b"\xff\xfe", "\u00b2\u0663".encode(), b"\r\n", b"[" * 5000, DEEP,
)  # fmt: skip
"""Values that parsers forget, put anywhere."""


@dataclass(frozen=True, slots=True)
class Target:
    """``run`` raises nothing that its parser does not document, whatever the bytes."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    """What the parser is made for."""
    words: tuple[bytes, ...]
    """What inputs are made of."""

    def known(self) -> list[bytes]:
        """Every input that is kept: seeds and corpus."""
        folder = CORPUS / self.name
        kept = [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []
        return [*self.seeds, *kept]


TARGETS: dict[str, Target] = {}


def target(
    name: str, *seeds: bytes | str | object, words: str = ""
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Register a function as a target. Seeds are bytes, text, or values that are written as JSON."""
    written = tuple(_written(seed) for seed in seeds)

    def register(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        if name in TARGETS:
            raise ValueError(name)
        TARGETS[name] = Target(name, run, written, tuple(word.encode() for word in words.split()))
        return run

    return register


def _written(seed: object) -> bytes:
    if isinstance(seed, bytes):
        return seed
    return seed.encode() if isinstance(seed, str) else json.dumps(seed).encode()


def lines(data: bytes, count: int) -> tuple[list[str], bytes]:
    """So many lines as text, empty where there are too few, and all that follows them."""
    parts = data.split(b"\n", count)
    rest = parts.pop() if len(parts) > count else b""
    texts = [text(part) for part in parts]
    return texts + [""] * (count - len(texts)), rest


def text(data: bytes) -> str:
    """Bytes as the interpreter and HTTP parsers decode them: what is no UTF-8 becomes halves of characters."""
    return data.decode(errors="surrogateescape")


def environment(data: bytes) -> dict[str, str]:
    """NAME=value on each line, as the kernel can carry it: without NUL."""
    pairs = (text(line.replace(b"\0", b"")).partition("=") for line in data.split(b"\n"))
    return {name: value for name, equals, value in pairs if name and equals}
