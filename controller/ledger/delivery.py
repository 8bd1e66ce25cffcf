"""Delivery: a batch reaches Postgres, besides those records that Postgres will never take."""

import logging

from controller import metrics
from controller.errors import Refused
from controller.ledger.database import Database
from controller.ledger.refused import RefusedRecords

log = logging.getLogger(__name__)


class Delivery:
    """Writes batches. What is refused whatever happens is found by halving and set aside, so that the rest arrives."""

    def __init__(self, database: Database, refused: RefusedRecords) -> None:
        self._database = database
        self._refused = refused

    async def write(self, items: list[bytes]) -> None:
        """All of them, in order; raises what may pass, or what only a person can mend."""
        if not items:
            return
        try:
            new = await self._database.write(items)
        except Refused as error:
            if error.reason != "NotStorable":
                raise
            # Somebody may have pruned a month that was there a moment ago.
            self._database.forget_months()
            if len(items) > 1:
                middle = len(items) // 2
                await self.write(items[:middle])
                await self.write(items[middle:])
            else:
                await self._last_try(items[0])
        else:
            metrics.LEDGER_RECORDS.labels("stored").inc(new)
            metrics.LEDGER_RECORDS.labels("known").inc(len(items) - new)

    async def _last_try(self, item: bytes) -> None:
        try:
            await self._database.write([item])
        except Refused as error:
            if error.reason != "NotStorable":
                raise
            log.error("a record is set aside in %s: %s", self._refused.path, error)
            self._refused.add(item)
            metrics.LEDGER_RECORDS.labels("refused").inc()
