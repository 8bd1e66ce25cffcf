"""What a stranger wrote, made fit for a condition: one short line that gives no secret away."""

from collections.abc import Iterable

LONGEST_SENTENCE = 300
_FRAGMENT = 24
_SHORTEST_SECRET = 8
"""A shorter one is no secret, and ordinary words would hold it."""


def quoted(text: str, secrets: Iterable[str]) -> str:
    """The text on one line, shortened, without control characters; nothing of it if it repeats a part of a secret."""
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST_SENTENCE])
    line = " ".join(line.split())
    if any(repeats(line, secret) for secret in secrets):
        return "its own words are left out because they repeat what was sent in confidence"
    return line if len(line) <= LONGEST_SENTENCE else f"{line[: LONGEST_SENTENCE - 1].rstrip()}…"


def repeats(line: str, secret: str) -> bool:
    """Whether a part of the secret that is long enough to matter is in the line."""
    # As in the line, or a line break inside the secret would hide it.
    secret = " ".join(secret.split())
    width = min(_FRAGMENT, len(secret))
    if width < _SHORTEST_SECRET:
        return False
    return any(line[start : start + width] in secret for start in range(len(line) - width + 1))
