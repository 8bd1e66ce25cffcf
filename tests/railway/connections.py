"""Pages of lists, as Relay has them."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from tests.railway.refusals import invalid


class Listed(Protocol):
    """Something that can be on a page: the oldest comes first."""

    id: str
    created: float


T = TypeVar("T", bound=Listed)


def connection(
    items: Iterable[T],
    node: Callable[[T], Any],
    *,
    most: int,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> dict[str, Any]:
    """One page. A cursor is a place in the order, so nothing is skipped or repeated when items go meanwhile."""
    there = sorted(items, key=_place)
    rest = [item for item in there if after is None or _place(item) > _open(after)]
    rest = [item for item in rest if before is None or _place(item) < _open(before)]
    page = rest[: min(most, most if first is None else first)]
    if last is not None:
        page = page[max(0, len(page) - last) :]
    cursors = [_seal(item) for item in page]
    return {
        "edges": [{"cursor": cursor, "node": node(item)} for cursor, item in zip(cursors, page, strict=True)],
        "pageInfo": {
            "hasNextPage": bool(page) and page[-1] is not there[-1],
            "hasPreviousPage": bool(page) and page[0] is not there[0],
            "startCursor": cursors[0] if cursors else None,
            "endCursor": cursors[-1] if cursors else None,
        },
    }


def _place(item: Listed) -> tuple[float, str]:
    return item.created, item.id


def _seal(item: Listed) -> str:
    return base64.b64encode(json.dumps(_place(item)).encode()).decode()


def _open(cursor: str) -> tuple[float, str]:
    try:
        created, item_id = json.loads(base64.b64decode(cursor, validate=True))
        return float(created), str(item_id)
    except (binascii.Error, ValueError, TypeError):
        raise invalid("Invalid cursor") from None
