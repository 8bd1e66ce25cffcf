"""Lists: paging over a consistent snapshot, and the forms a list can take."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from controller.standalone import tables
from controller.standalone.kinds import Kind
from controller.standalone.requests import Rendering
from controller.standalone.schema import Object
from controller.standalone.selectors import Selection
from controller.standalone.statuses import ApiError, Cause, bad_request, expired, invalid, version_too_large
from controller.standalone.store import Record, Store

TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter."
)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, as of `rv`."""

    records: list[Record]
    rv: int
    token: str = ""
    remaining: int | None = None

    def metadata(self) -> Object:
        """ListMeta."""
        metadata: Object = {"continue": self.token, "resourceVersion": str(self.rv)}
        if self.remaining is not None:
            metadata["remainingItemCount"] = self.remaining
        return metadata


def version(text: str) -> int:
    """A resourceVersion parameter; 0 when unset."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f"invalid resource version: {why}")
    return int(text)


def page(store: Store, kind: Kind, selection: Selection, query: Mapping[str, str]) -> Page:
    """The page that a list request asks for."""
    limit = _limit(query.get("limit", ""))
    if token := query.get("continue", ""):
        rv, after = _read_token(token)
        if query.get("resourceVersion", "") not in {"", "0"}:
            raise bad_request("specifying resource version is not allowed when using continue")
        try:
            records = store.snapshot(kind.resource, rv)
        except ApiError as error:
            raise expired(TOO_OLD) from error
    else:
        rv, after = _asked_version(store, query), ("", "")
        records = store.snapshot(kind.resource, rv)
    chosen = [record for record in records if record.place > after and selection.matches(record)]
    if not limit or len(chosen) <= limit:
        return Page(chosen, rv)
    shown = chosen[:limit]
    remaining = len(chosen) - limit if selection.is_everything else None
    return Page(shown, rv, _write_token(rv, shown[-1]), remaining)


def _limit(text: str) -> int:
    try:
        return max(int(text or 0), 0)
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def _asked_version(store: Store, query: Mapping[str, str]) -> int:
    match = query.get("resourceVersionMatch", "")
    asked = version(query.get("resourceVersion", ""))
    fault = ""
    if match and "resourceVersion" not in query:
        fault = "resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match == "Exact" and not asked:
        fault = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
    if fault:
        cause = Cause("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {fault}")
        raise invalid("meta.k8s.io", "ListOptions", "", [cause])
    if match not in {"", "Exact", "NotOlderThan"}:
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        raise invalid(
            "meta.k8s.io", "ListOptions", "", [Cause("resourceVersionMatch", "FieldValueNotSupported", message)]
        )
    if asked > store.rv:
        raise version_too_large(asked, store.rv)
    return asked if match == "Exact" else store.rv


def _write_token(rv: int, last: Record) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([rv, *last.place])).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        rv, namespace, name = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(rv), (str(namespace), str(name))
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise bad_request(
            "invalid continue token: continue key is not valid: it was not made by this server"
        ) from error


def served_raw(kind: Kind, record: Record) -> bytes:
    """An object's encoding in the served version."""
    if kind.api_version == kind.stored_api_version:
        return record.raw
    return orjson.dumps(kind.served(record.obj))


def encode(kind: Kind, shown: Page, how: Rendering, include: str) -> bytes:
    """The list as the client wants it."""
    if how.shape == "Table":
        rows = [tables.row(kind, kind.served(record.obj), include) for record in shown.records]
        return orjson.dumps(tables.table(kind, rows, _trimmed(shown.metadata())))
    if how.shape.startswith("PartialObjectMetadata"):
        items = [tables.partial(record.obj) for record in shown.records]
        head: dict[str, Any] = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return orjson.dumps({**head, "metadata": _trimmed(shown.metadata()), "items": items})
    head = {"apiVersion": kind.api_version, "kind": kind.list_kind, "metadata": shown.metadata()}
    items_raw = b",".join([served_raw(kind, record) for record in shown.records])
    return orjson.dumps(head)[:-1] + b',"items":[' + items_raw + b"]}"


def _trimmed(metadata: Object) -> Object:
    return {name: value for name, value in metadata.items() if value != ""}
