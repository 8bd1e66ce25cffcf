"""Log lines: one line each on stdout, a sentence and then key=value pairs."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+,-]+")


class LineFormatter(logging.Formatter):
    """Renders any record, a traceback included, as exactly one readable line."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Render time, level, program, message and fields."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = " ".join(record.getMessage().split())
        fields: dict[str, object] = dict(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = _in_one_line(record.exc_info[1])
        rest = "".join(f" {key}={_value(value)}" for key, value in fields.items() if value is not None)
        return f"{when} {record.levelname.lower():<7} {self._program}: {message}{rest}"


class Log:
    """Writes events of one program; never pass it a token, instructions or a whole invite."""

    def __init__(self, program: str) -> None:
        self._logger = logging.getLogger(f"agentpool.{program}")

    def info(self, message: str, **fields: object) -> None:
        """Say what happened."""
        self._logger.info(message, extra={"fields": fields})

    def warning(self, message: str, **fields: object) -> None:
        """Say what went wrong and was coped with."""
        self._logger.warning(message, extra={"fields": fields})

    def error(self, message: str, *, cause: BaseException | None = None, **fields: object) -> None:
        """Say what failed, with the exception that caused it."""
        self._logger.error(message, exc_info=cause, extra={"fields": fields})


def configure(program: str) -> None:
    """Send every record of this process to stdout as lines; libraries speak from warnings on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LineFormatter(program))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("agentpool").setLevel(logging.INFO)


def _value(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _in_one_line(error: BaseException) -> str:
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" ({where.tb_frame.f_code.co_filename}:{where.tb_lineno})" if where is not None else ""
    return f"{type(error).__name__}: {error}{place}"
