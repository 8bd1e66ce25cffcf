"""Logs: one record a line, as JSON or for people, from our own modules and from libraries alike."""

import logging
import sys
from typing import Literal

import structlog

QUIET = ("kopf", "kubernetes", "asyncio", "aiohttp", "httpx", "httpcore")
"""Libraries whose everyday records would only hide ours."""

_TRACEBACKS = structlog.processors.ExceptionRenderer(
    # Without the variables of each frame: they hold environments and tokens.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _shorten(record: logging.LogRecord) -> bool:
    """The informer's troubles are one line each: its tracebacks tell of its own insides, its retries of every try."""
    error = record.exc_info[1] if record.exc_info else None
    if record.name == "asyncio" and isinstance(error, RuntimeError) and "SSL protocol" in record.getMessage():
        # uvloop had something to write to a connection that had just broken; whoever asked over it hears of that.
        return False
    if record.name.startswith("kopf"):
        record.exc_info = record.exc_text = None
        return "attempt #" not in record.getMessage() or "attempt #1 " in record.getMessage()
    # Of several watches that fail together it looks at one, and the others' failures surface here.
    return record.name != "asyncio" or "/kopf/" not in record.getMessage()


def configure(log_format: Literal["readable", "json"], level: str) -> None:
    """Send all records to standard error in that format."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler()
    handler.addFilter(_shorten)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
