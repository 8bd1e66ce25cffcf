"""Watches: a stream of events per client, fed by what the store commits."""

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from controller.standalone import lists, tables
from controller.standalone.kinds import Kind
from controller.standalone.requests import Rendering
from controller.standalone.schema import Object
from controller.standalone.selectors import Selection
from controller.standalone.statuses import ApiError, Cause, bad_request, expired, invalid, version_too_large
from controller.standalone.store import Event, Record, Store

BOOKMARK_SECONDS = 50.0
SHORTEST_SECONDS = 1800
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
MOST_WAITING = 20_000
"""A watcher that far behind is cut off: it lists again, as after any lost connection."""


@dataclass(slots=True, eq=False)
class Watcher:
    """One client's view of one resource."""

    kind: Kind
    selection: Selection
    how: Rendering
    include: str
    bookmarks: bool
    waiting: deque[Event] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    header_sent: bool = False

    def offer(self, event: Event) -> None:
        """Queue an event of this resource."""
        self.waiting.append(event)
        if len(self.waiting) > MOST_WAITING:
            self.end()
        self.wake.set()

    def end(self) -> None:
        """Close the stream once what is queued is sent."""
        self.ended = True
        self.wake.set()

    def frame(self, event: Event) -> bytes | None:
        """The event as this client sees it; None when it does not concern it."""
        record, selection = event.record, self.selection
        if selection.namespace and record.namespace != selection.namespace:
            return None
        change = event.type
        if not selection.is_everything:
            now = change != "DELETED" and selection.matches(record)
            # An unknown past counts as shown: a DELETED too many is harmless, a stale object is not.
            before = change != "ADDED" and (event.previous is None or selection.matches(event.previous))
            if not now and not before:
                return None
            change = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        if self.how.shape or self.kind.api_version != self.kind.stored_api_version:
            return self.encode(change, record)
        return _frame(change, record.raw)

    def encode(self, change: str, record: Record) -> bytes:
        """An event about an object, in the form asked for."""
        if not self.how.shape:
            return _frame(change, lists.served_raw(self.kind, record))
        obj = self.kind.served(record.obj)
        if self.how.shape == "Table":
            rows = [tables.row(self.kind, obj, self.include)]
            shown = tables.table(self.kind, rows, {"resourceVersion": str(record.rv)}, header=not self.header_sent)
            self.header_sent = True
            return _frame(change, orjson.dumps(shown))
        return _frame(change, orjson.dumps(tables.partial(obj)))

    def bookmark(self, rv: int, *, initial_end: bool = False) -> bytes:
        """A BOOKMARK at `rv`."""
        metadata: Object = {"resourceVersion": str(rv), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        if self.how.shape == "Table":
            shown = tables.table(self.kind, [], {"resourceVersion": str(rv)}, header=not self.header_sent)
            self.header_sent = True
            return _frame("BOOKMARK", orjson.dumps(shown))
        kind, api_version = self.kind.kind, self.kind.api_version
        if self.how.shape:
            kind, api_version = "PartialObjectMetadata", "meta.k8s.io/v1"
        return _frame("BOOKMARK", orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata}))


def _frame(change: str, raw: bytes) -> bytes:
    return b'{"type":"' + change.encode() + b'","object":' + raw + b"}\n"


class Watches:
    """Every open watch."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: dict[str, set[Watcher]] = {}
        store.listeners.append(self._publish)

    def _publish(self, event: Event) -> None:
        for watcher in self._watchers.get(event.record.resource, ()):
            watcher.offer(event)

    def end_all(self, resource: str = "") -> None:
        """End the watches of one resource, or all."""
        for name, watchers in self._watchers.items():
            if not resource or name == resource:
                for watcher in watchers:
                    watcher.end()

    async def serve(
        self, request: web.BaseRequest, kind: Kind, selection: Selection, how: Rendering, query: Mapping[str, str]
    ) -> web.StreamResponse:
        """Stream events until the client goes, its time is up or the server stops."""
        seconds = _seconds(query.get("timeoutSeconds", ""))
        bookmarks = query.get("allowWatchBookmarks", "") in {"true", "1"}
        watcher = Watcher(kind, selection, how, query.get("includeObject", "Metadata"), bookmarks)
        first = self._first(watcher, query)
        watchers = self._watchers.setdefault(kind.resource, set())
        watchers.add(watcher)
        try:
            response = web.StreamResponse(
                headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
            )
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(b"".join(first))
            await self._stream(response, watcher, seconds)
            await response.write_eof()
        except ConnectionError:
            return response
        finally:
            watchers.discard(watcher)
        return response

    def _first(self, watcher: Watcher, query: Mapping[str, str]) -> list[bytes]:
        """What is sent at once; from here on, with no await between, the watcher is fed."""
        asked = query.get("resourceVersion", "")
        rv = lists.version(asked)
        streams_list = _streams_list(query)
        if rv > self._store.rv:
            raise version_too_large(rv, self._store.rv)
        if rv and not streams_list:
            try:
                missed = self._store.since(rv)
            except ApiError as error:
                watcher.end()
                return [_frame("ERROR", orjson.dumps(expired(error.message).status()))]
            resource = watcher.kind.resource
            frames = (watcher.frame(event) for event in missed if event.record.resource == resource)
            return [frame for frame in frames if frame is not None]
        if streams_list is False:
            return []
        records = (record for record in self._store.records(watcher.kind.resource) if watcher.selection.matches(record))
        frames_now = [watcher.encode("ADDED", record) for record in records]
        if streams_list and watcher.bookmarks:
            frames_now.append(watcher.bookmark(self._store.rv, initial_end=True))
        return frames_now

    async def _stream(self, response: web.StreamResponse, watcher: Watcher, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        next_bookmark = loop.time() + BOOKMARK_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 - only spreads the load
        while not watcher.ended:
            await _wait(watcher.wake, min(end, next_bookmark) - loop.time())
            watcher.wake.clear()
            frames = [watcher.frame(event) for event in watcher.waiting]
            watcher.waiting.clear()
            if watcher.bookmarks and (loop.time() >= next_bookmark or loop.time() >= end):
                frames.append(watcher.bookmark(self._store.rv))
                next_bookmark = loop.time() + BOOKMARK_SECONDS
            if data := b"".join(frame for frame in frames if frame is not None):
                await response.write(data)
            if loop.time() >= end:
                return


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await wake.wait()
    except TimeoutError:
        return


def _seconds(text: str) -> float:
    if not text:
        return SHORTEST_SECONDS * random.uniform(1, 2)  # noqa: S311 - only spreads the load
    try:
        return max(float(int(text)), 0.0) or SHORTEST_SECONDS
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def _streams_list(query: Mapping[str, str]) -> bool | None:
    """sendInitialEvents: True, False, or None when unset (then an unset resourceVersion lists first)."""
    text, match = query.get("sendInitialEvents", ""), query.get("resourceVersionMatch", "")
    if not text:
        if match:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise invalid(
                "meta.k8s.io",
                "ListOptions",
                "",
                [Cause("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {why}")],
            )
        return None
    if match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise invalid(
            "meta.k8s.io",
            "ListOptions",
            "",
            [Cause("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {why}")],
        )
    return text in {"true", "1"}
