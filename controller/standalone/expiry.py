"""Events are kept for an hour, as on any cluster; otherwise they would fill the disk in time."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from controller.standalone import builtin
from controller.standalone.schema import Object
from controller.standalone.statuses import ApiError
from controller.standalone.store import Record, Store
from controller.standalone.writes import Deletion, Writer

log = logging.getLogger(__name__)

KEPT = timedelta(hours=1)
SWEEP_SECONDS = 60.0


def _moments(event: Object) -> list[datetime]:
    named = [
        event["metadata"].get("creationTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        (event.get("series") or {}).get("lastObservedTime"),
    ]
    found = []
    for text in named:
        try:
            found.append(datetime.fromisoformat(str(text).upper().replace("Z", "+00:00")))
        except ValueError:
            continue
    return [moment for moment in found if moment.tzinfo is not None]


def expired(records: list[Record], now: datetime) -> list[Record]:
    """The events that were last seen too long ago."""
    return [record for record in records if max(_moments(record.obj), default=now) < now - KEPT]


async def run(store: Store, writer: Writer) -> None:
    """Sweep for ever."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        old = expired(store.records(builtin.EVENTS.resource), datetime.now(UTC))
        try:
            await writer.delete_all(builtin.EVENTS, old, Deletion())
        except* ApiError as errors:
            log.warning("expiring events: %s", errors.exceptions[0])
