"""The named queries of queries.sql."""

import functools
import re
from importlib.resources import files

from psycopg.sql import SQL

_HEAD = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@functools.cache
def query(name: str) -> SQL:
    """The text of one query; ``KeyError`` when there is none of that name."""
    return _all()[name]


@functools.cache
def _all() -> dict[str, SQL]:
    parts = _HEAD.split((files("controller.ledger") / "queries.sql").read_text(encoding="utf-8"))
    # They are ours, and nothing else is ever put into them.
    return {name: SQL(text) for name, text in zip(parts[1::2], parts[2::2], strict=True)}
