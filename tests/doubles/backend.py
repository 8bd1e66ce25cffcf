"""Machines in memory, on which instances boot, work, hang, crash and end; and the port ``Backend`` to them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from controller.errors import Barred, Missing, Refused
from controller.model import BackendSpec
from controller.ports import LaunchOrder, Pace, Place, Provisioned, Remote, RemoteState
from tests.doubles.wire import Wire

T = TypeVar("T")


@dataclass(slots=True)
class Machine:
    """One remote, and the program inside it."""

    order: LaunchOrder
    ready_at: float
    keys: bool = True
    """Whether its runtime knows idempotency keys."""
    rotates: bool = True
    """Whether its runtime takes up the token that an order brings."""
    taken_up: str | None = field(default=None, repr=False)
    """The token that it has taken up."""
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
    stage: RemoteState = RemoteState.RUNNING
    """How far its backend is with it, while it lives and is not paused."""
    waking: bool = False
    """It slept, and was asked something: until its program is up, somebody else answers for it."""
    requests: int = 0
    """How often anybody tried to talk to its program."""
    drift: str = ""
    """How somebody changed it behind the controller's back."""

    @property
    def uid(self) -> str:
        return self.order.uid

    @property
    def environment(self) -> str | None:
        """The environment of Railway in which it is, if it is in any."""
        return environment_of(self.order.backend)

    @property
    def url(self) -> str:
        return f"memory://{self.order.uid}"

    @property
    def token(self) -> str:
        """What opens its program."""
        return self.taken_up or self.order.env["OPENCLAW_GATEWAY_TOKEN"]

    @property
    def lives(self) -> bool:
        """Whether the program runs, well or not."""
        return self.exited is None

    def remote(self) -> Remote:
        """As the backend sees it."""
        state = RemoteState.PAUSED if self.paused else self.stage
        if not self.lives:
            state = RemoteState.EXITED
        return Remote(
            self.uid,
            f"machine-{self.uid}",
            state,
            self.url,
            self.exited or "",
            anonymous=self.agent_name is None,
            drift=self.drift,
        )


@dataclass(frozen=True, slots=True)
class Habits:
    """How machines behave; seconds."""

    boot: tuple[float, float] = (0.5, 0.5)
    build: tuple[float, float] = (0.0, 0.0)
    deploy: tuple[float, float] = (0.0, 0.0)
    """Whoever builds or deploys at all takes some time for it before the boot."""
    stop: tuple[float, float] = (0.2, 0.2)
    hint_delay: tuple[float, float] = (0.01, 0.01)
    hints_lost: float = 0.0
    keys: Callable[[LaunchOrder], bool] = lambda _: True
    rotates: Callable[[LaunchOrder], bool] = lambda _: True
    refused: Callable[[LaunchOrder], bool] = lambda _: False
    barred: Barred | None = None
    """What every launch is answered with, if anything."""


class Machines:
    """All of them: what really exists, whoever knows of it."""

    def __init__(self, random: Random, habits: Habits | None = None) -> None:
        self._random = random
        self.habits = habits or Habits()
        self.running: dict[str, Machine] = {}
        """Whatever leaves a trace, exited ones included."""
        self.launches: Counter[str] = Counter()
        self.all: list[Machine] = []
        self.tokens = {"a-token"}
        """Those with which environments are entered."""
        self._listeners: list[asyncio.Queue[Remote]] = []

    def launch(self, order: LaunchOrder) -> Remote:
        """Start it, or find it started."""
        if order.uid not in self.running:
            if self.habits.refused(order):
                raise Refused("NoSuchProgram", "the program does not exist")
            if self.habits.barred is not None:
                raise self.habits.barred
            ready_at = self._now() + self._random.uniform(*self.habits.boot)
            machine = self.running[order.uid] = Machine(
                order, ready_at, self.habits.keys(order), self.habits.rotates(order)
            )
            self.all.append(machine)
            self.launches[order.uid] += 1
            if self.habits.build[1] or self.habits.deploy[1]:
                self._build(machine)
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

    def put_to_sleep(self, machine: Machine) -> None:
        """It had no traffic for long enough; the next request wakes it."""
        if machine.stage is RemoteState.RUNNING:
            machine.stage = RemoteState.SLEEPING
            self._hint(machine)

    def build_anew(self, machine: Machine) -> None:
        """Somebody has its backend build and deploy it once more."""
        self._build(machine)
        self._hint(machine)

    def change(self, machine: Machine, drift: str) -> None:
        """Somebody changes it at its backend; with an empty sentence it is again what it was made as."""
        machine.drift = drift
        self._hint(machine)

    def _build(self, machine: Machine) -> None:
        machine.stage = RemoteState.BUILDING
        seconds = self._random.uniform(*self.habits.build)
        asyncio.get_running_loop().call_later(seconds, self._deploy, machine)

    def _deploy(self, machine: Machine) -> None:
        if self.running.get(machine.uid) is machine and machine.lives:
            machine.stage = RemoteState.DEPLOYING
            self._hint(machine)
            seconds = self._random.uniform(*self.habits.deploy)
            asyncio.get_running_loop().call_later(seconds, self._boot, machine)

    def _boot(self, machine: Machine) -> None:
        if self.running.get(machine.uid) is machine and machine.lives:
            machine.stage = RemoteState.RUNNING
            machine.ready_at = self._now() + self._random.uniform(*self.habits.boot)
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

    def at(self, url: str) -> Machine | None:
        """The living machine that listens there; one that sleeps wakes."""
        machine = self.running.get(url.removeprefix("memory://"))
        if machine is None or not machine.lives:
            return None
        machine.requests += 1
        if machine.stage is RemoteState.SLEEPING:
            machine.waking = True
            self._boot(machine)
        return machine if machine.stage is RemoteState.RUNNING else None

    def responds(self, machine: Machine) -> bool:
        """Whether its program answers requests."""
        up = not machine.paused and self._now() >= max(machine.ready_at, machine.hung_until)
        machine.waking = machine.waking and not up
        return up

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
    """The port ``Backend`` of one client of the machines: of those in one environment, or in none."""

    def __init__(self, machines: Machines, wire: Wire, environment: str | None = None) -> None:
        self._machines = machines
        self._wire = wire
        self._environment = environment
        self._closed = asyncio.Event()

    @property
    def pace(self) -> Pace:
        return Pace()

    async def launch(self, order: LaunchOrder) -> Remote:
        assert environment_of(order.backend) == self._environment, f"{order.name} is launched where it does not belong"
        return await self._wire.call(f"launch {order.uid}", lambda: self._machines.launch(order))

    async def terminate(self, uid: str, *, grace: float) -> bool:
        def effect() -> bool:
            machine = self._machines.running.get(uid)
            elsewhere = machine is not None and machine.environment != self._environment
            return elsewhere or self._machines.terminate(uid)

        return await self._wire.call(f"terminate {uid}", effect)

    async def pause(self, uid: str) -> Remote:
        return await self._wire.call(f"pause {uid}", lambda: self._machines.set_paused(uid, True))

    async def resume(self, uid: str) -> Remote:
        return await self._wire.call(f"resume {uid}", lambda: self._machines.set_paused(uid, False))

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        return await self._wire.call(f"rename {uid}", lambda: self._machines.rename(uid, agent_name))

    async def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        yield f"machine {uid}\n".encode()

    async def list(self) -> Sequence[Remote]:
        def effect() -> Sequence[Remote]:
            machines = self._machines.running.values()
            return [machine.remote() for machine in machines if machine.environment == self._environment]

        return await self._wire.call("list machines", effect, write=False)

    async def changes(self) -> AsyncIterator[Remote]:
        queue = self._machines.subscribe()
        try:
            while True:
                yield await queue.get()
        finally:
            self._machines.unsubscribe(queue)

    async def close(self) -> None:
        self._closed.set()


class Gate:
    """A wire behind a token, which is read anew for every request."""

    def __init__(self, wire: Wire, place: Place, machines: Machines) -> None:
        self._wire = wire
        self._place = place
        self._machines = machines

    async def call(self, what: str, effect: Callable[[], T], *, write: bool = True, timeout: float = 15.0) -> T:  # noqa: ASYNC109
        railway = self._place.spec.railway
        assert railway is not None
        if await self._place.secret(railway.token_secret_ref) not in self._machines.tokens:
            raise Refused("TokenRejected", "the token is not valid: make another")
        return await self._wire.call(what, effect, write=write, timeout=timeout)


class MemoryProvider:
    """The port ``Provider``: every environment is a place."""

    def __init__(self, machines: Machines, wire: Wire) -> None:
        self._machines = machines
        self._wire = wire
        self.connected: list[str] = []

    def connect(self, place: Place) -> MemoryBackend:
        self.connected.append(place.name)
        return MemoryBackend(self._machines, Gate(self._wire, place, self._machines), environment_of(place.spec))

    async def close(self) -> None:
        """Nothing is held."""


def environment_of(spec: BackendSpec) -> str | None:
    """The environment to which it leads, if it is one of Railway's."""
    return spec.railway.environment_id if spec.railway is not None else None
