"""How answers of the ledger look: a table for people, JSON and CSV for programs."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from controller.ledger.questions import Answer

Form = Literal["table", "json", "csv"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def written(answer: Answer, form: Form, columns: Mapping[str, str]) -> bytes:
    """The whole answer in that form. ``columns``: which ones a table shows, by name, with their headings."""
    match form:
        case "json":
            text = json.dumps(_objects(answer), indent=2, ensure_ascii=False, default=_plain) + "\n"
        case "csv":
            text = _csv(answer)
        case "table":
            text = _table(answer, columns)
    return text.encode("utf-8", "replace")


def _objects(answer: Answer) -> list[dict[str, Any]]:
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def _csv(answer: Answer) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow(["" if value is None else _field(value) for value in row])
    return out.getvalue()


def _field(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return (
        _plain(value) if isinstance(value, datetime) else str(value).lower() if value in (True, False) else str(value)
    )


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)


def _table(answer: Answer, columns: Mapping[str, str]) -> str:
    places = [answer.columns.index(name) for name in columns]
    cells = [[_cell(answer.columns[place], row[place]) for place in places] for row in answer.rows]
    return aligned([list(columns.values()), *cells])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns under each other, two spaces between."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join(rows) + "\n"


def _cell(column: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    show: Callable[[Any], str] = str
    if isinstance(value, datetime):
        show = _moment
    elif column.endswith("_seconds"):
        show = duration
    elif isinstance(value, float):
        show = "{:.1f}".format
    # What agents and backends say may hold what a terminal obeys.
    return _CONTROL.sub(" ", show(value))


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def duration(seconds: float) -> str:
    """As exact as it matters: 0.025s, 12.3s, 4m05s, 3h20m, 2d4h."""
    if seconds < 9.9995:
        return f"{seconds:.3f}s"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02}m"
    return f"{hours // 24}d{hours % 24}h"
