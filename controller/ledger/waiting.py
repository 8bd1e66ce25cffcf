"""Waiting: what was handed over and has not arrived, in order; and what arrived or was missed, by key and uid."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from controller.ledger.entries import Entry
from controller.ledger.spool import Slot

Key = tuple[str, str, str]

REMEMBERED = 50_000
"""How many keys that arrived are remembered, so that who hands them over again is not sent to Postgres for it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry that waits: on disk, or in memory while the disk takes nothing."""

    uid: str
    key: Key
    seen: datetime
    size: int
    slot: Slot | None = None
    item: bytes = field(default=b"", repr=False)

    @classmethod
    def on_disk(cls, entry: Entry, slot: Slot) -> "Item":
        """The entry is read again when its turn comes."""
        return cls(entry.uid, entry.key, entry.seen, slot.length, slot)

    @classmethod
    def in_memory(cls, entry: Entry) -> "Item":
        """The entry is held here."""
        return cls(entry.uid, entry.key, entry.seen, len(entry.item), None, entry.item)


class Waiting:
    """The queue itself, without the disk."""

    def __init__(self) -> None:
        self.in_memory = 0
        """Bytes that are held here and nowhere else."""
        self._items: deque[Item] = deque()
        self._keys: set[Key] = set()
        self._by_uid: Counter[str] = Counter()
        self._arrived: OrderedDict[Key, None] = OrderedDict()
        self._missed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest(self) -> datetime | None:
        """Since when the first one waits."""
        return self._items[0].seen if self._items else None

    def knows(self, key: Key) -> bool:
        """Whether it waits, or is remembered to have arrived."""
        return key in self._keys or key in self._arrived

    def is_safe(self, uid: str) -> bool:
        """Whether nothing of it waits, and nothing was missed."""
        return uid not in self._by_uid and uid not in self._missed

    def add(self, items: Iterable[Item]) -> None:
        """At the end."""
        for item in items:
            self._items.append(item)
            self._keys.add(item.key)
            self._by_uid[item.uid] += 1
            self.in_memory += len(item.item)

    def head(self, most: int, most_bytes: int) -> list[Item]:
        """The first ones: at least one, if there is any."""
        chosen: list[Item] = []
        size = 0
        for item in islice(self._items, most):
            size += item.size
            if chosen and size > most_bytes:
                break
            chosen.append(item)
        return chosen

    def arrived(self, number: int) -> list[str]:
        """So many of the first ones have arrived; answers the uids of which nothing waits any more."""
        done = []
        for _ in range(number):
            item = self._items.popleft()
            self._keys.discard(item.key)
            self._arrived[item.key] = None
            self.in_memory -= len(item.item)
            self._by_uid[item.uid] -= 1
            if not self._by_uid[item.uid]:
                del self._by_uid[item.uid]
                done.append(item.uid)
        while len(self._arrived) > REMEMBERED:
            self._arrived.popitem(last=False)
        return done

    def miss(self, uid: str, key: Key) -> None:
        """Something of it found no room, or was lost."""
        self._missed[uid] = None
        self._arrived.pop(key, None)

    def has_missed(self, uid: str) -> bool:
        """Whether something of it found no room; then nothing of it is taken, or it would be out of order."""
        return uid in self._missed

    def missed(self) -> list[str]:
        """All of those, which are then no more: whoever asks tells them."""
        missed = list(self._missed)
        self._missed.clear()
        return missed

    @property
    def misses(self) -> int:
        """How many objects lack something."""
        return len(self._missed)
