"""All objects in memory, encoded once, with the history watches resume from; a write counts when the disk has it."""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import orjson

from controller.standalone.disk import Disk, Row
from controller.standalone.schema import Object
from controller.standalone.statuses import ApiError, expired

HISTORY = 10_000

Place = tuple[str, str]
"""Namespace ("" for cluster-scoped objects) and name."""


class Record:
    """One version of one object. `obj` is shared: nobody may change it."""

    __slots__ = ("_obj", "labels", "name", "namespace", "raw", "resource", "rv", "uid")

    def __init__(self, resource: str, obj: Object, raw: bytes) -> None:
        metadata = obj["metadata"]
        self.resource = resource
        self.namespace: str = metadata.get("namespace", "")
        self.name: str = metadata["name"]
        self.uid: str = metadata.get("uid", "")
        self.rv = int(metadata["resourceVersion"])
        self.labels: dict[str, str] = metadata.get("labels") or {}
        self.raw = raw
        self._obj: Object | None = obj

    @property
    def obj(self) -> Object:
        """The decoded object; versions that are only history are decoded again each time."""
        return self._obj if self._obj is not None else orjson.loads(self.raw)

    @property
    def place(self) -> Place:
        """Namespace and name."""
        return self.namespace, self.name

    def retire(self) -> None:
        """Keep only the encoded form: history holds thousands of these."""
        self._obj = None


@dataclass(slots=True)
class Event:
    """One committed change; `previous` is the version before it, where it is still known."""

    rv: int
    type: str
    record: Record
    previous: Record | None


@dataclass(slots=True)
class _Write:
    event: Event
    done: asyncio.Future[None]


class Store:
    """Writers see each other's writes at once (`head`), readers see only what is on disk (`get`, `records`)."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._records: dict[str, dict[Place, Record]] = {}
        self._ordered: dict[str, list[Record]] = {}
        self._staged: dict[tuple[str, Place], tuple[int, Record | None]] = {}
        self._events: list[Event] = []
        self._horizon = 0
        self._queue: list[_Write] = []
        self._wake = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._last = 0
        self.rv = 0
        """The resourceVersion of the newest committed write."""
        self.listeners: list[Callable[[Event], None]] = []

    async def open(self) -> None:
        """Load everything and begin to accept writes."""
        objects, rows = await self._disk.open()
        for resource, raw in objects:
            record = Record(resource, orjson.loads(raw), raw)
            self._records.setdefault(resource, {})[record.place] = record
        self._recall(rows)
        self._committer = asyncio.create_task(self._commit_forever(), name="standalone-committer")

    def _recall(self, rows: list[Row]) -> None:
        seen: dict[tuple[str, Place], Record] = {}
        for row in rows:
            record = Record(row.resource, orjson.loads(row.object), row.object)
            record.retire()
            place = (row.resource, record.place)
            self._events.append(Event(row.rv, row.type, record, seen.get(place)))
            seen[place] = record
        self.rv = self._last = rows[-1].rv if rows else 0
        self._horizon = rows[0].rv - 1 if rows else 0

    async def close(self) -> None:
        """Finish the writes under way and close the disk."""
        while self._queue:
            await asyncio.wait([write.done for write in self._queue])
        if self._committer is not None:
            self._committer.cancel()
            await asyncio.gather(self._committer, return_exceptions=True)
        await self._disk.close()

    def get(self, resource: str, namespace: str, name: str) -> Record | None:
        """The committed version of one object."""
        return self._records.get(resource, {}).get((namespace, name))

    def head(self, resource: str, namespace: str, name: str) -> Record | None:
        """The newest version, committed or about to be: what a writer must build upon."""
        staged = self._staged.get((resource, (namespace, name)))
        return staged[1] if staged is not None else self.get(resource, namespace, name)

    def records(self, resource: str) -> list[Record]:
        """The committed objects of a resource, by namespace and name."""
        ordered = self._ordered.get(resource)
        if ordered is None:
            table = self._records.get(resource, {})
            ordered = self._ordered[resource] = [table[place] for place in sorted(table)]
        return ordered

    def resources(self) -> list[str]:
        """Every group-resource that has objects."""
        return [resource for resource, table in self._records.items() if table]

    async def write(self, change: str, resource: str, obj: Object, previous: Record | None) -> Record:
        """Give `obj` the next resourceVersion and store it; returns when it is durable.

        Staged before the first await, so a caller that read `head` in the same step cannot be overtaken.
        """
        self._last += 1
        obj["metadata"]["resourceVersion"] = str(self._last)
        record = Record(resource, obj, orjson.dumps(obj))
        self._staged[resource, record.place] = (self._last, None if change == "DELETED" else record)
        done = asyncio.get_running_loop().create_future()
        self._queue.append(_Write(Event(self._last, change, record, previous), done))
        self._wake.set()
        # A client that hangs up cancels this wait, never the write: others may already build upon it.
        await done
        return record

    async def _commit_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._commit_batch(self._queue)

    async def _commit_batch(self, batch: list[_Write]) -> None:
        self._queue = []
        rows = [
            Row(e.rv, e.type, e.record.resource, e.record.namespace, e.record.name, e.record.raw)
            for e in (write.event for write in batch)
        ]
        try:
            await self._disk.commit(rows)
        except ApiError as error:
            # Whatever was staged meanwhile may build upon the writes that failed, so it fails with them.
            failed, self._queue = batch + self._queue, []
            self._staged.clear()
            for write in failed:
                if not write.done.done():
                    write.done.set_exception(error)
                    write.done.exception()
            return
        for write in batch:
            self._publish(write.event)
            if not write.done.done():
                write.done.set_result(None)

    def _publish(self, event: Event) -> None:
        record = event.record
        place = (record.resource, record.place)
        table = self._records.setdefault(record.resource, {})
        superseded = table.get(record.place)
        if event.type == "DELETED":
            table.pop(record.place, None)
            record.retire()
        else:
            table[record.place] = record
        if superseded is not None:
            superseded.retire()
        self._ordered.pop(record.resource, None)
        staged = self._staged.get(place)
        if staged is not None and staged[0] == event.rv:
            del self._staged[place]
        self.rv = event.rv
        self._events.append(event)
        if len(self._events) > HISTORY + HISTORY // 4:
            self._horizon = self._events[-HISTORY - 1].rv
            del self._events[:-HISTORY]
        for listener in self.listeners:
            listener(event)

    def replace_in_memory(self, resource: str, change: Callable[[Object], Object]) -> None:
        """Show the stored objects through a changed schema, without writing them."""
        for place, record in self._records.get(resource, {}).items():
            obj = change(record.obj)
            self._records[resource][place] = Record(resource, obj, orjson.dumps(obj))
        self._ordered.pop(resource, None)

    def since(self, rv: int) -> list[Event]:
        """The committed events after `rv`; 410 when some of them are forgotten."""
        if rv < self._horizon:
            raise expired(f"too old resource version: {rv} ({self._horizon + 1})")
        return self._events[bisect_right(self._events, rv, key=lambda event: event.rv) :]

    def snapshot(self, resource: str, rv: int) -> list[Record]:
        """The objects of a resource as they were at `rv`; 410 when that is forgotten."""
        if rv >= self.rv:
            return self.records(resource)
        table = dict(self._records.get(resource, {}))
        for event in self._undo(resource, rv):
            if event.type == "ADDED":
                table.pop(event.record.place, None)
            elif event.previous is not None:
                table[event.record.place] = event.previous
            else:
                raise expired(f"too old resource version: {rv} ({event.rv})")
        return [table[place] for place in sorted(table)]

    def _undo(self, resource: str, rv: int) -> Iterator[Event]:
        return (event for event in reversed(self.since(rv)) if event.record.resource == resource)
