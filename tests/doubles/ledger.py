"""A ledger in memory, which can be away, full and strict like the real one."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from controller.core.transitions import Record
from controller.ports import Backlog, LedgerListener

Key = tuple[str, str, str]


class InMemoryLedger:
    """The port ``Ledger``. What is handed over arrives at once, unless it is away.

    ``durable`` is what outlives a kill: hand it to the next one.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        strict: bool = False,
        capacity: int = 10_000,
        durable: "InMemoryLedger | None" = None,
    ) -> None:
        self.rows: dict[Key, tuple[Record, datetime]] = durable.rows if durable is not None else {}
        """What has arrived, by key in the order of arrival, and when it was seen."""
        self._clock = clock
        self._strict = strict
        self._capacity = capacity
        self._waiting: list[tuple[Record, datetime]] = list(durable._waiting) if durable is not None else []
        self._missed: dict[str, None] = {}
        self._listener: LedgerListener | None = None
        self._away: str | None = durable._away if durable is not None else None
        self._unnoticed = False
        self._settling: dict[str, asyncio.Event] = {}

    def go_away(self, *, quietly: bool = False) -> None:
        """Nothing arrives any more; quietly, as when nobody has noticed yet."""
        self._away, self._unnoticed = "the database is away", quietly

    def come_back(self) -> None:
        """What waits arrives."""
        self._away = None
        self._deliver()

    def record(self, records: Sequence[Record]) -> None:
        """See the port."""
        waiting = {record.key for record, _ in self._waiting}
        fresh = [record for record in records if record.key not in waiting and record.key not in self.rows]
        for record in fresh:
            if record.uid in self._missed or len(self._waiting) + len(fresh) > self._capacity:
                self._missed[record.uid] = None
            else:
                self._waiting.append((record, self._clock()))
        self._deliver()

    def safe(self, uid: str) -> bool:
        """See the port."""
        return uid not in self._missed and all(record.uid != uid for record, _ in self._waiting)

    async def settled(self, uid: str) -> None:
        """See the port."""
        while not self.safe(uid):
            await self._settling.setdefault(uid, asyncio.Event()).wait()

    @property
    def backlog(self) -> Backlog:
        """See the port."""
        return Backlog(len(self._waiting), self._waiting[0][1] if self._waiting else None, bool(self._missed))

    @property
    def health(self) -> str | None:
        """See the port."""
        away = None if self._unnoticed else self._away
        return "; ".join(filter(None, [away, "its queue is full" if self._missed else None])) or None

    @property
    def barrier(self) -> str | None:
        """See the port."""
        return f"the ledger is strict and cannot record claims now: {self.health}" if self._barred else None

    @property
    def strict(self) -> bool:
        """See the port."""
        return self._strict

    @property
    def _barred(self) -> bool:
        return self._strict and self.health is not None

    def listen(self, listener: LedgerListener) -> None:
        """See the port."""
        self._listener = listener

    async def run(self) -> None:
        """See the port."""
        self._deliver()
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """See the port."""

    def _deliver(self) -> None:
        if self._away is not None:
            return
        arrived, self._waiting = self._waiting, []
        for record, seen in arrived:
            self.rows.setdefault(record.key, (record, seen))
        missed, self._missed = self._missed, {}
        for uid in missed:
            if self._listener is not None:
                self._listener.missed(uid)
        for uid in {record.uid: None for record, _ in arrived} | missed:
            self._tell(uid)

    def _tell(self, uid: str) -> None:
        if not self.safe(uid):
            return
        event = self._settling.pop(uid, None)
        if event is not None:
            event.set()
        if self._listener is not None:
            self._listener.settled(uid)
