"""Entries: records in the form in which they wait on disk and go to Postgres, one line each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import orjson

from controller.core.transitions import Record

HIDDEN = "(not stored)"
"""What stands in a message in place of content that is not kept."""
_CREATED = b'"created":"'
_HEAD = 9
"""Characters of the checksum and the space after it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record, ready to be kept."""

    uid: str
    key: tuple[str, str, str]
    seen: datetime
    item: bytes
    """JSON, as the query ``record`` takes it."""

    @property
    def line(self) -> bytes:
        """As it stands in a file; a torn or damaged one does not fit its checksum."""
        return b"%08x %b\n" % (crc32(self.item), self.item)


def entry_of(record: Record, seen: datetime, *, store_content: bool) -> Entry:
    """The entry of a record that was seen then. Content is left out, also of messages, unless it is to be stored."""
    message = record.message
    if not store_content:
        for text in filter(None, record.content.values()):
            message = message.replace(text, HIDDEN)
    item = {
        "kind": record.kind,
        "uid": record.uid,
        "namespace": record.namespace,
        "name": record.name,
        "pool": record.pool,
        "transition": record.transition,
        "ordinal": record.ordinal,
        "created": record.created.astimezone(UTC),
        "at": record.moment(seen),
        "seen": seen,
        "version": record.version,
        "rank": record.transition.rank,
        "reason": record.reason,
        "message": message,
        "about": record.about,
    }
    if store_content and record.content:
        item["content"] = record.content
    return Entry(record.uid, record.key, seen, _json(item))


def _json(item: Mapping[str, Any]) -> bytes:
    text = orjson.dumps(item)
    return orjson.dumps(_cleaned(item)) if b"\\u0000" in text else text


def parsed(line: bytes) -> Entry | None:
    """The entry of a line; ``None`` when it is torn or damaged."""
    item = line[_HEAD:].rstrip(b"\n")
    if line[:_HEAD] != b"%08x " % crc32(item):
        return None
    try:
        content = orjson.loads(item)
        key = (content["uid"], content["transition"], content["ordinal"])
        if not all(isinstance(part, str) for part in key):
            return None
        # Checked here, since one line without a month would keep all others of its batch from Postgres, for ever.
        month_of(item)
        return Entry(content["uid"], key, datetime.fromisoformat(content["seen"]), item)
    except (ValueError, KeyError, TypeError):
        return None


def month_of(item: bytes) -> datetime:
    """When the month of the creation begins; every item has it in the same form, and reading all the JSON would cost.

    ``ValueError`` for an item that ``entry_of`` never made.
    """
    at = item.index(_CREATED) + len(_CREATED)
    return datetime.fromisoformat(f"{item[at : at + 7].decode()}-01").replace(tzinfo=UTC)


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd")  # Postgres cannot hold it
        case Mapping():
            return {_cleaned(str(name)): _cleaned(each) for name, each in value.items()}
        case list() | tuple():
            return [_cleaned(each) for each in value]
        case _:
            return value
