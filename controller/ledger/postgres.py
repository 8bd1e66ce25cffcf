"""The ledger on Postgres: what is handed over waits on disk until it has arrived, in order and each once."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from controller import metrics
from controller.core.backoff import backoff
from controller.core.transitions import Record
from controller.errors import AgentpoolError
from controller.ledger.content import without_content
from controller.ledger.database import Database
from controller.ledger.delivery import Delivery
from controller.ledger.entries import Entry, entry_of
from controller.ledger.refused import RefusedRecords
from controller.ledger.spool import Spool, SpoolFullError
from controller.ledger.waiting import Item, Waiting
from controller.ports import Backlog, LedgerListener

log = logging.getLogger(__name__)

BATCH, BATCH_BYTES = 500, 1024 * 1024
MEMORY_BYTES = 8 * 1024 * 1024
"""How much is held in memory while the disk takes nothing."""
REST_SECONDS = 5.0
"""How often Postgres is asked whether it is there while there is nothing to say."""
SYNC_SECONDS = 0.05
"""How long appended lines wait for more before the disk is made to hold them."""
PAUSE_SECONDS = 5.0
"""The longest pause between two tries."""


class PostgresLedger:
    """The port ``Ledger``. One for a process and its spool."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        clock: Callable[[], datetime],
        *,
        store_content: bool = False,
        strict: bool = False,
        migrate_at_start: bool = False,
    ) -> None:
        self._database = database
        self._spool = spool
        self._clock = clock
        self._store_content = store_content
        self._strict = strict
        self._to_migrate = migrate_at_start
        self._refused = RefusedRecords(spool.directory)
        self._delivery = Delivery(database, self._refused)
        self._waiting = Waiting()
        self._waiting.add(Item.on_disk(entry, slot) for entry, slot in spool.found())
        self._listener: LedgerListener | None = None
        self._trouble: str | None = f"{database.place} was not reached yet"
        self._disk_trouble: str | None = None
        self._checked = False
        self._batch = BATCH
        self._news = asyncio.Event()
        self._settling: dict[str, asyncio.Event] = {}
        if spool.damaged:
            log.warning("%d lines of the ledger's queue in %s were torn", spool.damaged, spool.directory)

    # Handing over.

    def record(self, records: Sequence[Record]) -> None:
        """See the port."""
        entries, seen = [], self._clock()
        for record in records:
            if self._waiting.has_missed(record.uid):
                metrics.LEDGER_RECORDS.labels("missed").inc()
            elif not self._waiting.knows(record.key):
                entries.append(entry_of(record, seen, store_content=self._store_content))
        if entries:
            self._keep(entries)
            self._news.set()

    def _keep(self, entries: list[Entry]) -> None:
        try:
            slots = self._spool.append(entries)
        except SpoolFullError:
            self._miss(entries)
        except OSError as error:
            self._tell_disk(error)
            items = [Item.in_memory(entry) for entry in entries]
            if self._waiting.in_memory + sum(item.size for item in items) > MEMORY_BYTES:
                self._miss(entries)
            else:
                self._waiting.add(items)
        else:
            self._disk_trouble = None
            self._waiting.add(map(Item.on_disk, entries, slots))

    def _miss(self, entries: Sequence[Entry | Item]) -> None:
        for entry in entries:
            if self._waiting.misses == 0:
                log.error("the ledger has no room for more: what happens now is recorded later, as far as it shows")
            self._waiting.miss(entry.uid, entry.key)
            metrics.LEDGER_RECORDS.labels("missed").inc()

    # Asking.

    def safe(self, uid: str) -> bool:
        """See the port."""
        return self._waiting.is_safe(uid)

    async def settled(self, uid: str) -> None:
        """See the port."""
        while not self.safe(uid):
            await self._settling.setdefault(uid, asyncio.Event()).wait()

    @property
    def backlog(self) -> Backlog:
        """See the port."""
        return Backlog(len(self._waiting), self._waiting.oldest, self._waiting.misses > 0)

    @property
    def health(self) -> str | None:
        """See the port."""
        troubles = [self._trouble, self._disk_trouble]
        if self._waiting.misses:
            troubles.append(
                f"its queue in {self._spool.directory} is full, and what happens now is recorded later: "
                "make Postgres reachable, or raise AGENTPOOL_LEDGER_SPOOL_MEGABYTES"
            )
        if self._refused.count:
            troubles.append(f"{self._refused.count} records were refused by Postgres: see {self._refused.path}")
        return "; ".join(filter(None, troubles)) or None

    @property
    def barrier(self) -> str | None:
        """See the port."""
        if not self._strict or (self._trouble is None and not self._waiting.misses):
            return None
        return f"the ledger is strict and cannot record claims now: {self.health}"

    @property
    def strict(self) -> bool:
        """See the port."""
        return self._strict

    def listen(self, listener: LedgerListener) -> None:
        """See the port."""
        self._listener = listener

    # Delivering.

    async def run(self) -> None:
        """See the port."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sync(), name="ledger-sync")
            delivering = tasks.create_task(self._deliver(), name="ledger-deliver")
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                delivering.cancel()
                _, unwilling = await asyncio.wait({delivering}, timeout=1.0)
                if unwilling:
                    self._database.cut()

    async def close(self) -> None:
        """See the port."""
        await self._database.close()
        self._spool.close()

    async def _deliver(self) -> None:
        failures = 0
        while True:
            try:
                await self._step()
                failures = 0
            except AgentpoolError as error:
                failures += 1
                self._fail(str(error))
            except Exception:
                failures += 1
                log.exception("the ledger failed in a way that was not foreseen")
                self._fail("it failed in a way that was not foreseen: see the log")
            self._measure()
            if failures:
                await asyncio.sleep(backoff(failures, limit=PAUSE_SECONDS))

    async def _step(self) -> None:
        """One batch; or, with nothing to send, a rest and then a look at whether Postgres is there."""
        if not self._checked:
            await self._check()
        self._offer_room()
        batch = self._waiting.head(self._batch, BATCH_BYTES)
        if batch:
            await self._send(batch)
            self._batch = min(BATCH, self._batch * 2)
            return
        self._news.clear()
        try:
            async with asyncio.timeout(REST_SECONDS):
                await self._news.wait()
        except TimeoutError:
            self._checked = False

    async def _check(self) -> None:
        if self._to_migrate:
            await self._database.migrate()
            self._to_migrate = False
        await self._database.check()
        self._checked = True
        if self._trouble is not None:
            log.info("the ledger is in touch with %s; %d records wait", self._database.place, len(self._waiting))
        self._trouble = None
        self._measure()

    def _fail(self, sentence: str) -> None:
        self._checked = False
        # A slow Postgres may never get through with a large batch in time.
        self._batch = max(1, self._batch // 4)
        if sentence != self._trouble:
            log.warning("the ledger is not well, and %d records wait: %s", len(self._waiting), sentence)
        self._trouble = sentence

    async def _send(self, batch: list[Item]) -> None:
        items = [self._json_of(item) for item in batch]
        lost = [item for item, content in zip(batch, items, strict=True) if not content]
        began = time.monotonic()
        await self._delivery.write([content for content in items if content])
        metrics.LEDGER_BATCH_SECONDS.observe(time.monotonic() - began)
        done = self._waiting.arrived(len(batch))
        if lost:
            log.error("%d records could not be read again from %s", len(lost), self._spool.directory)
            self._miss(lost)
        self._spool.delivered([item.slot for item in batch if item.slot is not None])
        for uid in done:
            self._tell_settled(uid)

    def _json_of(self, item: Item) -> bytes:
        """What is sent of it; empty when the disk does not give it back."""
        if item.slot is None:
            return item.item
        found = self._spool.read(item.slot)
        # It may be there since a time when content was to be stored.
        return found if self._store_content else without_content(found)

    def _offer_room(self) -> None:
        """Have what was missed handed over again, once enough was delivered."""
        if not self._waiting.misses or self._listener is None or not self._spool.has_room:
            return
        if self._waiting.in_memory > MEMORY_BYTES // 2:
            return
        for uid in self._waiting.missed():
            self._listener.missed(uid)
            if self.safe(uid):
                self._tell_settled(uid)

    def _tell_settled(self, uid: str) -> None:
        if not self.safe(uid):
            return
        event = self._settling.pop(uid, None)
        if event is not None:
            event.set()
        if self._listener is not None:
            self._listener.settled(uid)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            if self._spool.dirty:
                try:
                    await asyncio.to_thread(Spool.sync, self._spool.unsynced())
                except OSError as error:
                    self._tell_disk(error)

    def _tell_disk(self, error: OSError) -> None:
        sentence = (
            f"its queue in {self._spool.directory} cannot be written ({error.strerror}), so that what waits is only in "
            "memory: make room there, or name another directory with AGENTPOOL_LEDGER_SPOOL_DIR"
        )
        if sentence != self._disk_trouble:
            log.error("the ledger is not well: %s", sentence)
        self._disk_trouble = sentence

    def _measure(self) -> None:
        backlog = self.backlog
        metrics.LEDGER_UP.set(self._trouble is None)
        metrics.LEDGER_BACKLOG.set(backlog.records)
        waited = (self._clock() - backlog.since).total_seconds() if backlog.since is not None else 0.0
        metrics.LEDGER_OLDEST_SECONDS.set(max(0.0, waited))
        metrics.LEDGER_SPOOL_BYTES.set(self._spool.size)
