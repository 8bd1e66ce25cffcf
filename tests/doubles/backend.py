"""Machines in memory, on which instances boot, work, hang, crash and end; and the port ``Backend`` to them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from controller.errors import Missing, Refused
from controller.ports import LaunchOrder, Provisioned, Remote, RemoteState
from tests.doubles.wire import Wire


@dataclass(slots=True)
class Machine:
    """One remote, and the program inside it."""

    order: LaunchOrder
    ready_at: float
    keys: bool = True
    """Whether its runtime knows idempotency keys."""
    exited: str | None = None
    stopping: bool = False
    hung_until: float = 0.0
    conversations: dict[str, Provisioned] = field(default_factory=dict)
    """By key; without keys in the protocol the twin still notes whose it is."""
    asked: set[str] = field(default_factory=set)
    """Every key with which it was ever asked to take up a conversation."""
    accepted: bool = False
    paused: bool = False
    agent_name: str | None = None
    """The name under which it is shown, once it was renamed."""

    @property
    def uid(self) -> str:
        return self.order.uid

    @property
    def url(self) -> str:
        return f"memory://{self.order.uid}"

    @property
    def lives(self) -> bool:
        """Whether the program runs, well or not."""
        return self.exited is None

    def remote(self) -> Remote:
        """As the backend sees it."""
        state = RemoteState.PAUSED if self.paused else RemoteState.RUNNING
        if not self.lives:
            state = RemoteState.EXITED
        return Remote(
            self.uid, f"machine-{self.uid}", state, self.url, self.exited or "", anonymous=self.agent_name is None
        )


@dataclass(frozen=True, slots=True)
class Habits:
    """How machines behave; seconds."""

    boot: tuple[float, float] = (0.5, 0.5)
    stop: tuple[float, float] = (0.2, 0.2)
    hint_delay: tuple[float, float] = (0.01, 0.01)
    hints_lost: float = 0.0
    keys: Callable[[LaunchOrder], bool] = lambda _: True
    refused: Callable[[LaunchOrder], bool] = lambda _: False


class Machines:
    """All of them: what really exists, whoever knows of it."""

    def __init__(self, random: Random, habits: Habits | None = None) -> None:
        self._random = random
        self.habits = habits or Habits()
        self.running: dict[str, Machine] = {}
        """Whatever leaves a trace, exited ones included."""
        self.launches: Counter[str] = Counter()
        self.all: list[Machine] = []
        self._listeners: list[asyncio.Queue[Remote]] = []

    def launch(self, order: LaunchOrder) -> Remote:
        """Start it, or find it started."""
        if order.uid not in self.running:
            if self.habits.refused(order):
                raise Refused("NoSuchProgram", "the program does not exist")
            ready_at = self._now() + self._random.uniform(*self.habits.boot)
            machine = self.running[order.uid] = Machine(order, ready_at, self.habits.keys(order))
            self.all.append(machine)
            self.launches[order.uid] += 1
        return self.running[order.uid].remote()

    def terminate(self, uid: str) -> bool:
        """Begin ending it; True once nothing is left."""
        machine = self.running.get(uid)
        if machine is None:
            return True
        if not machine.stopping:
            machine.stopping = True
            seconds = self._random.uniform(*self.habits.stop)
            asyncio.get_running_loop().call_later(seconds, self._end, machine)
        return False

    def crash(self, machine: Machine, why: str = "exit code 1") -> None:
        """It exits by itself."""
        if machine.lives:
            machine.exited = why
            self._hint(machine)

    def set_paused(self, uid: str, paused: bool) -> Remote:
        """Freeze it, or let it go on."""
        machine = self._find(uid)
        machine.paused = paused and machine.lives
        self._hint(machine)
        return machine.remote()

    def rename(self, uid: str, agent_name: str) -> Remote:
        """Show it under the name of its agent."""
        machine = self._find(uid)
        machine.agent_name = agent_name
        return machine.remote()

    def _find(self, uid: str) -> Machine:
        if uid not in self.running:
            raise Missing(f"there is no machine {uid}")
        return self.running[uid]

    def remotes(self) -> Sequence[Remote]:
        """Everything that leaves a trace."""
        return [machine.remote() for machine in self.running.values()]

    def at(self, url: str) -> Machine | None:
        """The living machine that listens there."""
        machine = self.running.get(url.removeprefix("memory://"))
        return machine if machine is not None and machine.lives else None

    def responds(self, machine: Machine) -> bool:
        """Whether its program answers requests."""
        return not machine.paused and self._now() >= max(machine.ready_at, machine.hung_until)

    def subscribe(self) -> asyncio.Queue[Remote]:
        """Hear of changes."""
        queue: asyncio.Queue[Remote] = asyncio.Queue()
        self._listeners.append(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[Remote]) -> None:
        """Hear no more."""
        self._listeners.remove(queue)

    def _end(self, machine: Machine) -> None:
        machine.exited = machine.exited or "it was stopped"
        self.running.pop(machine.uid, None)
        self._hint(machine)

    def _hint(self, machine: Machine) -> None:
        remote = machine.remote()
        for queue in self._listeners:
            if self._random.random() >= self.habits.hints_lost:
                delay = self._random.uniform(*self.habits.hint_delay)
                asyncio.get_running_loop().call_later(delay, queue.put_nowait, remote)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class MemoryBackend:
    """The port ``Backend`` of one client of the machines."""

    def __init__(self, machines: Machines, wire: Wire) -> None:
        self._machines = machines
        self._wire = wire
        self._closed = asyncio.Event()

    async def launch(self, order: LaunchOrder) -> Remote:
        return await self._wire.call(f"launch {order.uid}", lambda: self._machines.launch(order))

    async def terminate(self, uid: str, *, grace: float) -> bool:
        return await self._wire.call(f"terminate {uid}", lambda: self._machines.terminate(uid))

    async def pause(self, uid: str) -> Remote:
        return await self._wire.call(f"pause {uid}", lambda: self._machines.set_paused(uid, True))

    async def resume(self, uid: str) -> Remote:
        return await self._wire.call(f"resume {uid}", lambda: self._machines.set_paused(uid, False))

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        return await self._wire.call(f"rename {uid}", lambda: self._machines.rename(uid, agent_name))

    async def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        yield f"machine {uid}\n".encode()

    async def list(self) -> Sequence[Remote]:
        return await self._wire.call("list machines", self._machines.remotes, write=False)

    async def changes(self) -> AsyncIterator[Remote]:
        queue = self._machines.subscribe()
        try:
            while True:
                yield await queue.get()
        finally:
            self._machines.unsubscribe(queue)

    async def close(self) -> None:
        self._closed.set()
