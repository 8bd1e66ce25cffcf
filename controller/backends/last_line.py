"""The last line of what an instance wrote, fit for a status message: for every backend that can read it."""

import re

LINE_LIMIT = 160
_NOISE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def last_line_of(tail: bytes) -> str:
    """The last line with anything in it, shortened, without anything that acts on a terminal or turns text around."""
    lines = (_printable(line) for line in reversed(re.split(r"[\r\n]+", tail.decode(errors="replace"))))
    line = next((line for line in lines if line), "")
    return line if len(line) <= LINE_LIMIT else line[: LINE_LIMIT - 1] + "…"


def _printable(line: str) -> str:
    line = _NOISE.sub("", line)
    return "".join(character if character.isprintable() else " " for character in line).strip()
