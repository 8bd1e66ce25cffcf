"""What may be in a golden image, from which many instances start: nothing of one run, and nobody's identity."""

import base64
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import IO

CHUNK = 1 << 20
_OVERLAP = 1024
"""Longer than anything that is looked for."""

_OF_A_RUN = ("*.pid", "*.lock", "*.sock", "*.log", "*.tmp", "core", "core.[0-9]*", ".X*-lock")
"""Names, anywhere, of what a program leaves behind for nobody but itself."""
_OF_A_RUN_IN_THE_STATE = ("port", "logs", "tmp", "home/.cache", "home/.npm/_logs")
_LOCKED_DEPENDENCIES = re.compile(r"(bun|Cargo|composer|deno|flake|Gemfile|mix|pdm|Pipfile|poetry|uv|yarn)\.lock")
_IDENTITY_IN_THE_STATE = (
    # OpenClaw makes them anew when they are missing.
    "state/openclaw.sqlite*",
    "config-journal-fingerprint.key",
    "identity",
    "devices",
)

_OF_A_CONVERSATION = ("provision.json", "loopback/state.json", "loopback/messages.jsonl", "convos/conversation.json")
_KEY_NAMES = ("identity.key", "*.db3", "*.db3.*", "UTC--*", "wallet*.json", "*wallet.key", "id_rsa", "id_ed25519")
# Each begins with a literal, for which the engine of expressions searches at the speed of memory.
_KEYS = tuple(
    re.compile(pattern)
    for pattern in (
        rb"-----begin (?:[a-z0-9]+ ){0,3}private key(?: block)?-----",
        rb"key[\"']?\s*[:=]\s*[\"']?(?:0x)?[0-9a-f]{64}\b",
        rb"\"ciphertext\"\s*:\s*\"[0-9a-f]{64}",
        rb"\"kty\"\s*:[^}]{0,500}\"d\"\s*:\s*\"[\w-]{40}",
        rb"\"d\"\s*:\s*\"[\w-]{40}[^}]{0,500}\"kty\"\s*:",
    )
)
_LONGEST_WORD = 16
_OF_A_KEY = re.compile(rb"(?:private|wallet|identity|signer|encryption|secret)[_-]?$")


class LeaveOut:
    """Which files of a run do not go into the image: what is gone with the run, and what its own patterns name."""

    def __init__(self, state_dir: str, patterns: Iterable[str] = ()) -> None:
        self._state = PurePosixPath(state_dir)
        self._in_state = (*_OF_A_RUN_IN_THE_STATE, *_IDENTITY_IN_THE_STATE, *(each.strip("/") for each in patterns))

    def __call__(self, path: str) -> bool:
        """Whether a file, or a directory above it, is left out."""
        whole = PurePosixPath(path)
        return any(self._names(each) for each in (whole, *whole.parents))

    def _names(self, path: PurePosixPath) -> bool:
        of_a_run = any(fnmatchcase(path.name, pattern) for pattern in _OF_A_RUN)
        if of_a_run and not _LOCKED_DEPENDENCIES.fullmatch(path.name):
            return True
        if path == self._state or not path.is_relative_to(self._state):
            return False
        below = str(path.relative_to(self._state))
        return any(fnmatchcase(below, pattern) for pattern in self._in_state)


class Forbidden:
    """What no file of a golden image may hold."""

    def __init__(self, state_dir: str, secrets: Mapping[str, str]) -> None:
        """``secrets`` are values by what a person calls them."""
        self._state = PurePosixPath(state_dir)
        self._needles = {needle: name for name, value in secrets.items() for needle in forms(value)}

    def name(self, path: str) -> str | None:
        """What is wrong with a file of that name, if anything."""
        whole = PurePosixPath(path)
        if any(whole == self._state / each for each in _OF_A_CONVERSATION):
            return "is what an instance keeps of its conversation"
        if any(fnmatchcase(whole.name, pattern) for pattern in _KEY_NAMES):
            return "is named like a file of private keys"
        return None

    def content(self, content: IO[bytes]) -> str | None:
        """What is wrong with the content of a file, if anything."""
        rest = b""
        while chunk := content.read(CHUNK):
            window = rest + chunk
            if problem := self.text(window):
                return problem
            rest = window[-_OVERLAP:]
        return None

    def text(self, content: bytes) -> str | None:
        """The same for bytes that are at hand."""
        # One search for each is many times faster than one expression for all.
        for needle, name in self._needles.items():
            if needle in content:
                return f"holds the value of {name}"
        return "holds a private key" if _holds_key(content.lower()) else None


def _holds_key(content: bytes) -> bool:
    for pattern in _KEYS:
        for found in pattern.finditer(content):
            before = content[max(0, found.start() - _LONGEST_WORD) : found.start()]
            if not found.group().startswith(b"key") or _OF_A_KEY.search(before):
                return True
    return False


def forms(value: str) -> set[bytes]:
    """A secret as programs write it down: as it is, as UTF-16, in hexadecimal digits, and in base64 at any offset."""
    plain = value.encode(errors="surrogateescape")
    found = {plain, value.encode("utf-16-le", errors="surrogatepass"), plain.hex().encode()}
    found.add(plain.hex().upper().encode())
    if len(plain) % 2 == 0 and re.fullmatch(rb"[0-9a-fA-F]+", plain):
        found.add(bytes.fromhex(plain.decode()))
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            encoded = encode(b"\0" * offset + plain)
            # The first and last characters also tell of what is around it.
            begin, end = (0, 2, 3)[offset], len(encoded) - (4 if (offset + len(plain)) % 3 else 0)
            found.add(encoded[begin:end])
    # What is too short would be found everywhere.
    return {each for each in found if len(each) >= 8}
