"""The whole world of a story in memory: API server, machines, users, and the controllers that come and go."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, Literal

from controller.errors import AgentpoolError
from controller.model import AgentClaim, AgentInstance, AgentPool, ClaimPhase, InstancePhase
from controller.reconcile.formerkey import FormerKey
from tests.doubles import virtualtime
from tests.doubles.backend import Habits, Machines
from tests.doubles.cluster import ApiServer, Change
from tests.doubles.inmemory_runtime import Programs
from tests.doubles.ledger import InMemoryLedger
from tests.doubles.watch import WatchManners
from tests.simulation.invariants import Invariants
from tests.simulation.process import Doom, Process, Surroundings, When
from tests.simulation.weather import Climate, Weather

NAMESPACE = "default"
TAIL = 80


class Broken(AssertionError):
    """Something that must hold does not."""


class _Alarms(logging.Handler):
    """Errors that the controller logs about itself are failures of the story."""

    def __init__(self, world: "World") -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None or "please report" in record.getMessage():
            text = record.getMessage()
            if record.exc_info is not None:
                text += f": {record.exc_info[1]!r}"
                traceback = record.exc_info[2]
                while traceback is not None:
                    text += f"\n    {traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
                    traceback = traceback.tb_next
            self._world.alarm(text)


class World:
    """Make it in a running virtual loop; everything in it follows from the seed."""

    def __init__(
        self,
        seed: int = 0,
        *,
        climate: Climate | None = None,
        manners: WatchManners | None = None,
        habits: Habits | None = None,
        ledger: Literal["", "lax", "strict"] = "",
        former_key: FormerKey | None = None,
    ) -> None:
        self.random = Random(f"users {seed}")
        self._random = Random(f"world {seed}")
        self.manners = manners or WatchManners()
        self.trace: list[str] = []
        self.processes: list[Process] = []
        self._alarms: list[str] = []
        self.server = ApiServer(virtualtime.now)
        self.machines = Machines(Random(f"machines {seed}"), habits)
        self.programs = Programs(self.machines)
        self.weather = Weather(Random(f"weather {seed}"), climate or Climate())
        self.invariants = Invariants(self.server, self.machines, self.programs, self.processes, kept=bool(ledger))
        self.server.observers.append(self._changed)
        kept = InMemoryLedger(virtualtime.now, strict=ledger == "strict") if ledger else None
        self._around = Surroundings(
            self.server, self.machines, self.programs, self.weather, self.record, kept, former_key
        )
        self._last_write = 0.0

    # Controllers.

    def start(self) -> Process:
        """One more controller process."""
        name = f"controller-{len(self.processes)}"
        process = Process(name, self._around, Random(f"{name} {self._random.random()}"), self.manners)
        self.processes.append(process)
        process.start()
        return process

    @property
    def ledger(self) -> InMemoryLedger:
        """What the youngest controller writes into."""
        assert self._around.ledger is not None, "this world keeps none"
        return self._around.ledger

    @property
    def process(self) -> Process:
        """The youngest controller."""
        return self.processes[-1]

    def doom(self, calls: int, when: When, matching: str = ".*") -> None:
        """The youngest controller dies at that request from now, of those that match the pattern."""
        self.process.doom = Doom(calls, when, re.compile(matching))

    async def death(self) -> None:
        """Wait until the youngest controller has died."""
        async with asyncio.timeout(60.0):
            await self.process.died.wait()
        await self.process.buried()

    async def restart(self, after: float = 0.0) -> Process:
        """Kill the youngest controller and start another one."""
        self.process.die()
        await self.process.buried()
        await asyncio.sleep(after)
        return self.start()

    # Users.

    def create_pool(self, name: str = "agents", **spec: Any) -> AgentPool:
        """A user makes a pool."""
        body = {"metadata": {"name": name}, "spec": {"backend": {"process": {}}, **spec}}
        return self.server.create(AgentPool, NAMESPACE, body, by="user")

    def change_pool(self, name: str = "agents", **spec: Any) -> AgentPool:
        """A user changes a pool."""
        return self.server.patch(AgentPool, NAMESPACE, name, {"spec": spec}, by="user")

    def create_claim(self, name: str, pool: str = "agents", **spec: Any) -> AgentClaim:
        """A user asks for an agent."""
        body = {"metadata": {"name": name}, "spec": {"pool": pool, **spec}}
        return self.server.create(AgentClaim, NAMESPACE, body, by="user")

    def delete(self, kind: type[AgentPool] | type[AgentInstance] | type[AgentClaim], name: str) -> None:
        """A user deletes something; the garbage collector follows."""
        self.server.delete(kind, NAMESPACE, name, by="user")
        asyncio.get_running_loop().call_later(self._random.uniform(0.1, 2.0), self.server.collect_garbage)

    def claim(self, name: str) -> AgentClaim:
        """A claim as it is now."""
        return self.server.read(AgentClaim, NAMESPACE, name)

    def instances(self, phase: InstancePhase | None = None) -> list[AgentInstance]:
        """The instances as they are now."""
        return [i for i in self.server.list(AgentInstance) if phase is None or i.status.phase is phase]

    def holder(self, claim: str) -> AgentInstance | None:
        """The instance that names the claim."""
        uid = self.claim(claim).metadata.uid
        held = (i for i in self.server.list(AgentInstance) if i.spec.claim_ref and i.spec.claim_ref.uid == uid)
        return next(held, None)

    # Waiting.

    async def until(self, condition: Callable[[], bool], what: str, within: float = 60.0) -> None:
        """Wait for something to become true, look by look."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while not condition():
            if loop.time() >= deadline:
                raise self.broken(f"within {within:g} s it did not come to pass that {what}")
            await asyncio.sleep(0.01)
            self.check()

    async def until_warm(self, idle: int) -> None:
        """Wait until so many instances are idle."""
        await self.until(lambda: len(self.instances(InstancePhase.IDLE)) == idle, f"{idle} instances are idle")

    async def until_phase(self, claim: str, phase: ClaimPhase, within: float = 60.0) -> AgentClaim:
        """Wait until a claim is in a phase."""
        await self.until(lambda: self.claim(claim).status.phase is phase, f"claim {claim} is {phase}", within)
        return self.claim(claim)

    async def rest(self, quiet: float = 60.0, within: float = 900.0) -> None:
        """Wait until no controller has written anything for so long, then look whether all is as it should be."""
        loop = asyncio.get_running_loop()
        deadline, self._last_write = loop.time() + within, loop.time()
        while loop.time() < self._last_write + quiet:
            if loop.time() > deadline:
                raise self.broken(f"no rest within {within:g} s")
            await asyncio.sleep(1.0)
            self.check()
        if wrong := list(self.invariants.at_rest()):
            raise self.broken("at rest, " + "; ".join(wrong))

    def check(self) -> None:
        """Raise if anything that must always hold was broken."""
        if self._alarms:
            raise self.broken("a controller met an error of its own: " + self._alarms[0])
        if self.invariants.violations:
            raise self.broken("; ".join(self.invariants.violations))
        for process in self.processes:
            if process.trouble is not None:
                raise self.broken(f"{process.name} ended with {process.trouble!r}") from process.trouble

    async def close(self) -> None:
        """End every controller."""
        for process in self.processes:
            process.die()
            await process.buried()
        self.check()

    # The trace.

    def record(self, what: str) -> None:
        """Put it on the trace."""
        now = asyncio.get_running_loop().time()
        self.trace.append(f"{now:9.4f} {what}")
        # Idle instances that rest frozen are woken for their checks: that is what rest looks like there.
        if not any(word in what for word in (" starts", " dies ", " pause ", " resume ")):
            self._last_write = now

    def alarm(self, what: str) -> None:
        """A controller met an error that it did not foresee."""
        self._alarms.append(what)

    def digest(self) -> str:
        """The course of the story in one word."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()

    def broken(self, what: str) -> Broken:
        """The failure, with what led to it."""
        return Broken(what + "\nthe last steps:\n" + "\n".join(self.trace[-TAIL:]))

    def _changed(self, change: Change) -> None:
        thing, told = change.thing, ""
        if isinstance(thing, AgentClaim | AgentInstance):
            told = f" {thing.status.phase}"
        if isinstance(thing, AgentInstance) and thing.spec.claim_ref is not None:
            told += f" for {thing.spec.claim_ref.name}"
        if thing.metadata.deleting:
            told += " deleting"
        now = asyncio.get_running_loop().time()
        self.trace.append(f"{now:9.4f}   {change.type} {thing.kind_name} {thing.metadata.name}{told} by {change.by}")


Story = Callable[[World], Coroutine[Any, Any, None]]


def tell(story: Story, seed: int = 0, **nature: Any) -> World:
    """Run a story in a world of its own, from its first moment to the burial of its last controller."""

    async def whole() -> World:
        world = World(seed, **nature)
        alarms, loop = _Alarms(world), asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: world.alarm(_sentence(context)))
        log = logging.getLogger("controller")
        log.addHandler(alarms)
        try:
            await story(world)
            await world.close()
        finally:
            log.removeHandler(alarms)
        return world

    with asyncio.Runner(loop_factory=virtualtime.VirtualTimeLoop) as runner:
        return runner.run(whole())


def _sentence(context: Mapping[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"


def quietly(action: Callable[..., object], *args: Any, **options: Any) -> bool:
    """What a user tries that the API server may refuse; whether it was done."""
    try:
        action(*args, **options)
    except AgentpoolError:
        return False
    return True
