"""One controller process: its wires to the world, its watch, and its death at any request."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, Literal, TypeVar

from controller.errors import AgentpoolError, Conflict, Transient
from controller.ports import FixedPlace
from controller.reconcile.credentials import Installation
from controller.reconcile.fence import FencedCluster, FencedRuntime, fenced
from controller.reconcile.loop import Controller, Ports, Tuning
from tests.doubles import virtualtime
from tests.doubles.backend import Machines, MemoryBackend, MemoryProvider
from tests.doubles.cluster import ApiServer, MemoryCluster
from tests.doubles.inmemory_runtime import MemoryRuntime, Programs
from tests.doubles.ledger import InMemoryLedger
from tests.doubles.watch import Watch, WatchManners
from tests.doubles.wire import NoAnswerError
from tests.simulation.weather import Fate, Weather

T = TypeVar("T")
When = Literal["before", "after", "frozen"]
"""A process dies before its request is sent, or after the request had its effect and before the answer came; or it
stops for a while right before, and then goes on as if nothing had been."""

TUNING = Tuning(relist_seconds=60.0, orphan_grace_seconds=20.0)


@dataclass(slots=True)
class Doom:
    """At which request a process dies."""

    calls_left: int
    when: When
    matching: re.Pattern[str] = re.compile(".*")
    """Which requests count."""


@dataclass(slots=True)
class Surroundings:
    """What all processes share."""

    server: ApiServer
    machines: Machines
    programs: Programs
    weather: Weather
    record: Callable[[str], None]
    ledger: InMemoryLedger | None = None
    """That of the youngest process: what it holds outlives the process."""


class Request(Generic[T]):
    """One request under way: it arrives, has its effect or not, and is answered or not."""

    def __init__(
        self, process: "Process", service: str, what: str, effect: Callable[[], T], write: bool, patience: float
    ) -> None:
        self._process = process
        self._weather = process.around.weather
        self._loop = asyncio.get_running_loop()
        self._service = service
        self._what = what
        self._effect = effect
        self._write = write
        self._patience = patience
        self._fate = self._weather.fate(service, what, write)
        self.deadly = False
        """Whether its sender dies before the answer comes."""
        self.answer: asyncio.Future[T] = self._loop.create_future()

    def send(self) -> None:
        """Put it on its way."""
        self._loop.call_later(self._weather.latency(), self._arrive)

    def _arrive(self) -> None:
        if not self._process.alive and not self._weather.is_still_sent():
            return
        result = self._result()
        # A process that was pardoned meanwhile lives on.
        if self.deadly and self._process.doom is not None:
            self._process.die(f"after {self._what}")
        if isinstance(result, NoAnswerError):
            failure = Transient(f"{self._what} was not answered in {self._patience:g} s")
            self._loop.call_later(self._patience, self._say, failure)
        else:
            self._loop.call_later(self._weather.latency(), self._say, result)

    def _result(self) -> T | BaseException:
        failure = Transient(f"{self._service} does not answer to {self._what}")
        match self._fate:
            case Fate.LOST:
                return failure
            case Fate.CONFLICT:
                return Conflict(f"{self._what} met a newer version")
            case Fate.UNANSWERED:
                self._happen()
                return failure
            case Fate.LATE:
                self._stray()
                self._loop.call_later(self._weather.lateness(), self._happen)
                return failure
            case _:
                if not self._process.alive:
                    self._stray()
                return self._happen()

    def _happen(self) -> T | BaseException:
        self._weather.spring(self._what)
        try:
            result: T | BaseException = self._effect()
        except (AgentpoolError, NoAnswerError) as error:
            result = error
        if self._write:
            told = f"{type(result).__name__}: {result}" if isinstance(result, BaseException) else "done"
            self._process.note(f"{self._what}: {told}" + ("" if self._fate is Fate.FAIR else f" ({self._fate})"))
        return result

    def _stray(self) -> None:
        self._process.stray_calls[self._what] = self._loop.time()

    def _say(self, result: T | BaseException) -> None:
        if self.answer.done():
            return
        if isinstance(result, BaseException):
            self.answer.set_exception(result)
        else:
            self.answer.set_result(result)


class ServiceWire:
    """A wire of one process to one service, in the weather of the world."""

    def __init__(self, process: "Process", service: str) -> None:
        self._process = process
        self._service = service

    async def call(self, what: str, effect: Callable[[], T], *, write: bool = True, timeout: float = 15.0) -> T:  # noqa: ASYNC109
        process = self._process
        if not process.alive:
            raise asyncio.CancelledError
        stopped, dies = not process.runs.is_set(), process.counts_down(what)
        if dies == "frozen":
            process.freeze(f"before {what}")
        await process.runs.wait()
        if stopped and write:
            process.ask_fence()  # nothing runs in a process that is stopped: it would ask only now
        if dies == "before":
            process.die(f"before {what}")
            raise asyncio.CancelledError
        request = Request(process, self._service, what, effect, write, timeout)
        request.deadly = dies == "after"
        request.send()
        return await request.answer


class Process:
    """A controller from its start until it is killed. Nothing of it touches the world after that."""

    def __init__(self, name: str, around: Surroundings, random: Random, manners: WatchManners) -> None:
        self.name = name
        self.around = around
        self.alive = True
        self.calls = 0
        self.doom: Doom | None = None
        self.died = asyncio.Event()
        self.frozen = asyncio.Event()
        """Set once it was stopped."""
        self.runs = asyncio.Event()
        self.runs.set()
        self.deposed = False
        """Whether it knows that it may write no more."""
        self.stray_calls: dict[str, float] = {}
        """Requests that had their effect although the process believed them failed, or was dead; and when."""
        wires = {service: ServiceWire(self, service) for service in ("cluster", "backend", "runtime")}
        if around.ledger is not None:
            around.ledger = InMemoryLedger(virtualtime.now, strict=around.ledger.strict, durable=around.ledger)
        self._ports = Ports(
            cluster=FencedCluster(MemoryCluster(around.server, wires["cluster"], name), self.ask_fence),
            runtime=FencedRuntime(MemoryRuntime(around.programs, wires["runtime"]), self.ask_fence),
            backends={
                "process": fenced(FixedPlace(MemoryBackend(around.machines, wires["backend"])), self.ask_fence),
                "railway": fenced(MemoryProvider(around.machines, wires["backend"]), self.ask_fence),
            },
            installation=Installation("simulation", b"a key for the tokens of instances"),
            clock=virtualtime.now,
            random=random,
            ledger=around.ledger,
        )
        self.controller = Controller(self._ports, TUNING)
        self.watch = Watch(around.server, self._deliver, random, manners)
        self._task: asyncio.Task[None] | None = None
        self.trouble: BaseException | None = None
        """How it ended, when nobody killed it or it did not take that calmly."""

    def start(self) -> None:
        """Begin to work."""
        self.note("starts")
        self._task = asyncio.get_running_loop().create_task(self._work())

    def die(self, how: str = "killed") -> None:
        """kill -9."""
        if self.alive:
            self.note(f"dies {how}")
            self.alive = False
            self.watch.close()
            self.died.set()
            if self._task is not None:
                self._task.cancel()

    def freeze(self, how: str = "") -> None:
        """SIGSTOP: what it sends from now on is sent when it is let go on, and what it is told waits until then."""
        self.note(f"stops {how}")
        self.runs.clear()
        self.watch.lose(3600.0)
        self.frozen.set()

    def thaw(self) -> None:
        """SIGCONT: what had passed the fence is sent now. Its time is over, and it looks at the clock soon."""
        self.note("goes on")
        self.deposed = True
        self.runs.set()

    def ask_fence(self) -> None:
        """Raise if this process knows that it may write no more."""
        if self.deposed:
            raise Transient("another one leads")

    async def buried(self) -> None:
        """Wait until nothing of it runs any more."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def counts_down(self, what: str) -> When | None:
        """Count a request; how the process dies by it, if it does."""
        self.calls += 1
        if self.doom is None or not self.doom.matching.fullmatch(what):
            return None
        self.doom.calls_left -= 1
        return self.doom.when if self.doom.calls_left == 0 else None

    def note(self, what: str) -> None:
        """Put it on the trace."""
        self.around.record(f"{self.name} {what}")

    def _deliver(self, thing: object, deleted: bool) -> None:
        (self.controller.view.forget if deleted else self.controller.view.learn)(thing)  # type: ignore[arg-type]

    async def _work(self) -> None:
        try:
            while True:
                try:
                    await self.controller.fill()
                    break
                except AgentpoolError:
                    await asyncio.sleep(0.5)
            self.watch.open()
            await self.controller.run()
        except asyncio.CancelledError:
            if self.alive:
                raise
        except BaseException as error:
            self.trouble = error
