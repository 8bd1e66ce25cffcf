"""Two minutes of bad luck: users claim and give back, while whatever can be killed is killed."""

import contextlib
import logging
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar

import httpx
import psutil

from tests.docker.api import EngineError
from tests.docker.engine import PrivateEngine
from tests.e2e.api import Object
from tests.e2e_docker.stage import DockerSystem
from tests.e2e_docker.witness import processes

MOST_CLAIMS = 8
"""How many claims the users hold at once."""
REST_SECONDS = 420.0
"""After which the system counts as never coming to rest; generous, since the machine may be busy."""
FIRST_PROCESSES = ("docker-init", "runc:[2:INIT]")
"""Of a container that runs, and of one that was made and waits for its start."""
START_SECONDS = 15.0
"""For how long a start may go on of which the engine does not tell yet."""

T = TypeVar("T")
log = logging.getLogger(__name__)


def at_last(check: Callable[[], T], otherwise: Callable[[], object], seconds: float = REST_SECONDS) -> T:
    """As ``eventually``, with the patience that twenty containers need, and with servers that are away for a while."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if outcome := check():
                return outcome
        assert time.monotonic() < end, f"the condition was not met in time: {otherwise()}"
        time.sleep(0.25)


class Chaos:
    """What happens to one system and its engine, drawn from seeded dice."""

    def __init__(self, system: DockerSystem, engine: PrivateEngine, pool: str, dice: random.Random) -> None:
        self.claims: list[str] = []
        """Those that were not given back."""
        self.counts: Counter[str] = Counter()
        self._system = system
        self._engine = engine
        self._pool = pool
        self._dice = dice

    def run(self, seconds: float) -> None:
        """Every kind of trouble comes once before any comes again."""
        troubles = (
            self.kill_operator,
            self.kill_operator,
            self.kill_engine,
            self.kill_engine_and_containerd,
            self.restart_engine,
            self.kill_both,
            self.freeze_engine,
            self.kill_operator_while_the_engine_is_frozen,
            *(lambda verb=verb: self.on_a_container(verb) for verb in ("kill", "pause", "restart", "stop", "remove")),
            *(lambda verb=verb: self.on_a_container(verb) for verb in ("kill", "pause", "remove")),
        )
        deck: list[Callable[[], None]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            deck = deck or self._dice.sample(troubles, len(troubles))
            self.use()
            deck.pop()()
            self.use()
            time.sleep(self._dice.uniform(0.0, 1.0))

    def _happens(self, what: str, to: str = "") -> None:
        log.info("%s %s", what, to)
        self.counts[what] += 1

    def end_what_the_engine_lost(self) -> None:
        """As a restart of its host would. What a killed engine forgot in the middle of a start keeps its address on the
        bridge, and each new container gets the same one, where nobody reaches it."""
        known = {each["Id"] for each in self._system.containers() if each["State"] in {"running", "paused"}}
        for lost in chain.from_iterable(processes(self._engine.folder, FIRST_PROCESSES).values()):
            if lost.container not in known and time.time() - lost.since > START_SECONDS:
                self._happens("end of a process that the engine had lost", str(lost))
                with contextlib.suppress(psutil.Error):
                    psutil.Process(lost.pid).kill()

    # What users do.

    def use(self) -> None:
        """Claim, or give back, a few times."""
        for _ in range(self._dice.randrange(4)):
            if len(self.claims) >= MOST_CLAIMS or (self.claims and self._dice.random() < 0.4):
                self._give_back()
            else:
                self._claim()

    def _claim(self) -> None:
        number = self.counts["claims"] = self.counts["claims"] + 1
        name = f"c{number}"
        self.claims.append(name)
        spec = {"pool": self._pool, "agentName": f"Agent {number}"}
        body = {"apiVersion": "agentpool.dev/v1alpha1", "kind": "AgentClaim", "metadata": {"name": name}, "spec": spec}
        answer = self._patiently(lambda: self._system.api.http.post(self._system.api.path("agentclaims"), json=body))
        # A server that was killed may have stored it and not said so: then there is one already.
        assert answer.status_code in {201, 409}, answer.text

    def _give_back(self) -> None:
        self._happens("given back")
        name = self.claims.pop(self._dice.randrange(len(self.claims)))
        path = self._system.api.path("agentclaims", name)
        answer = self._patiently(lambda: self._system.api.http.delete(path))
        assert answer.status_code in {200, 202, 404}, answer.text

    def _patiently(self, attempt: Callable[[], httpx.Response]) -> httpx.Response:
        return at_last(lambda: [attempt()], lambda: self._system.command.output[-3000:])[0]

    # What goes wrong.

    def kill_operator(self) -> None:
        """kill -9; on the standalone server the API server goes with it."""
        self._happens("kill -9 of the operator")
        self._system.command.kill()
        time.sleep(self._dice.uniform(0.0, 1.0))
        self._system.command.start()

    def kill_engine(self, *, containerd: bool = False) -> None:
        """kill -9 of dockerd; users go on meanwhile."""
        self._happens("kill -9 of dockerd" + (" and containerd" if containerd else ""))
        self._engine.kill(containerd=containerd)
        self.use()
        time.sleep(self._dice.uniform(0.0, 3.0))
        self._engine.start()

    def kill_engine_and_containerd(self) -> None:
        """Both at once, so that only shims and containers are left."""
        self.kill_engine(containerd=True)

    def restart_engine(self) -> None:
        """SIGTERM, and a new one."""
        self._happens("restarts of dockerd")
        self._engine.restart()

    def kill_both(self) -> None:
        """Operator and engine, and back in any order."""
        self._happens("kill -9 of the operator and dockerd")
        self._system.command.kill()
        self._engine.kill()
        comebacks: list[Callable[[], object]] = [self._system.command.start, self._engine.start]
        self._dice.shuffle(comebacks)
        for comeback in comebacks:
            comeback()
            time.sleep(self._dice.uniform(0.0, 1.0))

    def freeze_engine(self) -> None:
        """SIGSTOP of dockerd: orders and answers pile up, and are carried out late."""
        self._happens("freezes of dockerd")
        with self._frozen():
            self.use()
            time.sleep(self._dice.uniform(0.0, 3.0))

    def kill_operator_while_the_engine_is_frozen(self) -> None:
        """What it has ordered is carried out when it is no more, and the next one knows nothing of it."""
        self._happens("kill -9 of the operator while dockerd was frozen")
        with self._frozen():
            self.use()
            time.sleep(self._dice.uniform(0.0, 1.0))
            self._system.command.kill()
            if self._dice.random() < 0.5:
                self._system.command.start()
                time.sleep(self._dice.uniform(0.0, 2.0))
        if not self._system.command.running:
            self._system.command.start()

    @contextlib.contextmanager
    def _frozen(self) -> Iterator[None]:
        pid = self._engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def on_a_container(self, verb: str) -> None:
        """What a person does by hand to one of them."""
        containers = self._system.containers()
        if not containers:
            return
        running = [each for each in containers if each["State"] in {"running", "paused"}]
        container: Object = self._dice.choice(running or containers)
        # It may have ended, or gone, or be paused by now: then nothing happens.
        with contextlib.suppress(EngineError):
            if verb == "remove":
                self._system.engine.delete(f"/containers/{container['Id']}", force="1", v="1")
            else:
                query = {"t": "1"} if verb in {"stop", "restart"} else {}
                self._system.engine.post(f"/containers/{container['Id']}/{verb}", **query)
            self._happens(f"docker {verb}", container["Id"][:12])
