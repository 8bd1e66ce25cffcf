"""The ledger: an append-only account of every claim and instance, in Postgres. See docs/ledger.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.ledger.postgres import PostgresLedger


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """What a ledger is opened with."""

    url: str = field(repr=False)
    """Of the database, as libpq takes it."""
    spool: Path
    """The directory of its queue: one for each process."""
    spool_bytes: int = 64 * 1024 * 1024
    """How much may wait there."""
    store_content: bool = False
    """Whether instructions and links into conversations are stored."""
    strict: bool = False
    """Whether a claim is bound only when that is recorded."""
    migrate_at_start: bool = False


def open_ledger(options: LedgerOptions, clock: Callable[[], datetime]) -> PostgresLedger:
    """The ledger, which asks nothing of Postgres until it runs. ``Misconfigured`` when URL or directory cannot do."""
    # The settings need the options; only who has a ledger is to wait until the driver of Postgres is loaded.
    from controller.ledger.database import Database
    from controller.ledger.postgres import PostgresLedger
    from controller.ledger.spool import Spool
    from controller.ledger.troubles import checked

    conninfo = checked(options.url)
    return PostgresLedger(
        Database(conninfo),
        Spool(options.spool, options.spool_bytes),
        clock,
        store_content=options.store_content,
        strict=options.strict,
        migrate_at_start=options.migrate_at_start,
    )
