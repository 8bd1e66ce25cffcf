"""A Lease in memory, the ways to it, and processes on clocks of their own."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from controller.core.election import LeaseRecord, Terms
from controller.errors import Conflict, Missing, Transient
from controller.kube.lease import Elected
from controller.ports import Fence

TODAY = datetime(2026, 11, 27, tzinfo=UTC)


def real() -> float:
    """The time of the world, which no process knows."""
    return asyncio.get_running_loop().time()


class Store:
    """What the API server holds; every method is one moment."""

    def __init__(self) -> None:
        self.record: LeaseRecord | None = None
        self.versions = self.deletions = 0

    def read(self) -> LeaseRecord | None:
        return self.record

    def write(self, record: LeaseRecord) -> LeaseRecord:
        if record.version and self.record is None:
            raise Missing("there is no Lease")
        if (self.record.version if self.record is not None else "") != record.version:
            raise Conflict("the Lease is another version")
        self.versions += 1
        self.record = replace(record, version=str(self.versions))
        return self.record

    def delete(self) -> None:
        """What a person may do."""
        self.deletions += 1
        self.record = None


@dataclass
class Way:
    """How requests of one process fare."""

    random: Random = field(default_factory=lambda: Random(0))
    delay: tuple[float, float] = (0.001, 0.005)
    lost: float = 0.0
    """Share of requests that never arrive."""
    unanswered: float = 0.0
    """Share of those that arrive and whose answer is lost."""
    cut: bool = False


class Process:
    """One candidate. Its clock runs at a rate of its own from a beginning of its own; its calendar is anything."""

    def __init__(
        self, name: str, store: Store, terms: Terms, *, way: Way | None = None, rate: float = 1.0, offset: float = 0.0
    ) -> None:
        self.name = name
        self.way = way or Way()
        self._store = store
        self._rate, self._offset = rate, offset
        self.runs = asyncio.Event()
        self.runs.set()
        self.told: list[tuple[bool, str]] = []
        self.terms = 0
        self.working = False
        self.fence: Fence | None = None
        self.elected = Elected(
            self,
            name,
            terms,
            lambda well, sentence: self.told.append((well, sentence)),
            clock=self.clock,
            calendar=lambda: TODAY + timedelta(seconds=offset * 1000),
            sleep=self._sleep,
            random=Random(name),
        )
        self.task: asyncio.Task[None] | None = None

    def clock(self) -> float:
        return self._offset + self._rate * real()

    def start(self) -> None:
        """Stand for election again and again."""
        self.task = asyncio.get_running_loop().create_task(self._stand())

    async def end(self) -> None:
        """SIGTERM."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait({self.task})

    def may_write(self) -> bool:
        """Whether an effect would pass the fence at this moment."""
        return self.elected.may_write

    async def work(self, fence: Fence) -> None:
        self.terms += 1
        self.fence, self.working = fence, True
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.working = False

    # The Lease, over its way.

    async def read(self) -> LeaseRecord | None:
        return await self._call(self._store.read)

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        answer = await self._call(lambda: self._store.write(record))
        assert answer is not None
        return answer

    async def _call(self, effect: Callable[[], LeaseRecord | None]) -> LeaseRecord | None:
        way, random = self.way, self.way.random
        await asyncio.sleep(random.uniform(*way.delay))
        if way.cut or random.random() < way.lost:
            await asyncio.sleep(15.0)
            raise Transient("the API server cannot be reached")
        try:
            answer: LeaseRecord | Exception | None = effect()
        except (Conflict, Missing) as error:
            answer = error
        await asyncio.sleep(random.uniform(*way.delay))
        if way.cut or random.random() < way.unanswered:
            await asyncio.sleep(15.0)
            raise Transient("the API server did not answer")
        await self.runs.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)
        await self.runs.wait()

    async def _stand(self) -> None:
        while True:
            await self.elected.lead(self.work)
