"""The world of one run: a namespace, a database, a state directory, operators, and what stands between them."""

import contextlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx

from tests.e2e.api import Api, Object, UnwellError
from tests.e2e.commands import Command
from tests.e2e.system import System, create_namespace, unique
from tests.faults.apiproxy import ApiProxy
from tests.faults.loop import Loop
from tests.faults.servers import ApiServer
from tests.faults.witness import Witness
from tests.ledger.proxy import Line
from tests.postgres.plugin import fresh_database

PATIENCE = 120.0
"""Seconds after which a condition counts as never met; generous, since the machine may be busy."""
ENVIRONMENT = {
    "AGENTPOOL_LEASE_DURATION_SECONDS": "3",
    "AGENTPOOL_LEASE_MARGIN_SECONDS": "0.5",
    "AGENTPOOL_LEASE_RENEW_SECONDS": "1",
    "AGENTPOOL_LEASE_POLL_SECONDS": "0.2",
    "AGENTPOOL_ORPHAN_GRACE_SECONDS": "2",
    "AGENTPOOL_BACKENDS": "process",
    "AGENTPOOL_LEDGER_MIGRATE_AT_START": "true",
}
"""Nothing but shorter times than the defaults, so that a run need not wait for them."""

T = TypeVar("T")


@dataclass
class Plan:
    """What a stage is made of; a fault may change it before anything is started."""

    folder: Path
    operators: int = 1
    env: dict[str, str] = field(default_factory=dict)
    """More settings of the operators."""
    pool: Object = field(default_factory=dict)
    """More of the pool's spec, such as its template."""


class Stage:
    """Use it as a context manager: it is ready inside, and nothing of it is left afterwards."""

    def __init__(self, server: ApiServer, postgres_url: str, plan: Plan) -> None:
        self.server, self.plan = server, plan
        self.keeps_up = True
        """Whether operators that were killed are started again at once."""
        self._postgres_url = postgres_url
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "Stage":
        with contextlib.ExitStack() as closing:
            self._set_up(closing)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def at_the_end(self, do: Callable[[], object]) -> None:
        """Do it when the run is over, the last first."""
        self._closing.callback(do)

    def _set_up(self, closing: contextlib.ExitStack) -> None:
        folder = self.plan.folder
        self.loop = Loop()
        closing.callback(self.loop.close)
        self.database_url = closing.enter_context(fresh_database(self._postgres_url))
        self.line = self.loop.call(lambda: Line(self.database_url))
        self.loop.run(self.line.__aenter__())
        closing.callback(lambda: self.loop.run(self.line.__aexit__(None, None, None)))
        self.api = Api(self.server.kubeconfig, unique("faults"))
        create_namespace(self.api)
        self.state = folder / "state"
        self.proxies = [self._proxy(f"operator{number}", closing) for number in range(self.plan.operators)]
        self.operators = [self._operator(proxy) for proxy in self.proxies]
        root = self.state / "instances"
        self.system = System(self.server.name, self.api, self.operators[0], root, self.api.namespace)
        closing.callback(self._erase)
        self.witness = Witness(self.api, root)
        closing.callback(self.witness.close)
        for operator in self.operators:
            operator.start()
        self.until(self.leads, self.told)

    def _proxy(self, who: str, closing: contextlib.ExitStack) -> ApiProxy:
        folder = self.plan.folder / who
        folder.mkdir(parents=True)
        proxy = self.loop.call(lambda: ApiProxy(who, self.server.kubeconfig, folder))
        closing.callback(lambda: self.loop.run(proxy.stop()))
        self.loop.run(proxy.start())
        return proxy

    def _operator(self, proxy: ApiProxy) -> Command:
        folder, namespace = self.plan.folder / proxy.who, self.api.namespace
        where = ("--kubeconfig", str(proxy.kubeconfig), "--namespace", namespace, "--operator-namespace", namespace)
        env = {
            **ENVIRONMENT,
            "AGENTPOOL_DATABASE_URL": self.line.url,
            "AGENTPOOL_LEDGER_SPOOL_DIR": str(folder / "ledger"),
            **self.plan.env,
        }
        return Command("run", *where, "--state-dir", str(self.state), log=folder / "log", **env)

    def _erase(self) -> None:
        for operator in self.operators:
            if operator.running:
                operator.signal(signal.SIGCONT)
                operator.end()
        # One that is somebody else's, or that other runs use, too.
        self.system.kind = "genuine"
        self.system.erase()

    # Waiting.

    def until(self, check: Callable[[], T], otherwise: Callable[[], object] = lambda: "", what: str = "") -> T:
        """The first truthy outcome; meanwhile killed operators are started again, and what is due is done."""
        end = time.monotonic() + PATIENCE
        outcome: object = None
        while True:
            self.tick()
            # The API server may be away, or refuse for a moment.
            with contextlib.suppress(httpx.TransportError, UnwellError):
                if found := check():
                    return found
                outcome = found
            assert time.monotonic() < end, f"not within {PATIENCE:g} s: {what}; last seen: {outcome!r}; {otherwise()}"
            time.sleep(0.05)

    def pause(self, seconds: float) -> None:
        """Let so many seconds pass."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something in so many seconds, during a wait."""
        self._later.append((time.monotonic() + seconds, do))

    def tick(self) -> None:
        """What is due now."""
        due = [each for each in self._later if each[0] <= time.monotonic()]
        for each in due:
            self._later.remove(each)
            each[1]()
        for operator in self.operators:
            if self.keeps_up and operator.process is not None and not operator.running:
                assert operator.process.returncode == -signal.SIGKILL, f"it ended by itself: {operator.output[-4000:]}"
                operator.start()

    # What there is.

    def operator(self, who: str) -> Command:
        """The one whose requests go through the proxy of that name."""
        return next(each for each, proxy in zip(self.operators, self.proxies, strict=True) if proxy.who == who)

    def leads(self) -> bool:
        """Whether an operator leads and works. One that is frozen answers nothing, so it is not asked."""
        return any(operator.readiness() == (200, "ok") for operator in self.operators if not _is_frozen(operator))

    def last_news(self) -> float:
        """When an operator last asked for a change."""
        return max(proxy.last_news() for proxy in self.proxies)

    def told(self) -> str:
        """Everything that somebody needs who wants to know why a run failed."""
        parts = [f"seed of the stage's folder: {self.plan.folder}"]
        for operator, proxy in zip(self.operators, self.proxies, strict=True):
            parts += [f"-- {proxy.who} said:\n{operator.output[-8000:]}", f"-- its requests:\n{proxy.told()}"]
        return "\n".join(parts)


def _is_frozen(operator: Command) -> bool:
    if not operator.running:
        return False
    stat = Path(f"/proc/{operator.pid}/stat")
    return stat.read_text().rsplit(")", 1)[1].split()[0] == "T"


def dice_of(*parts: object) -> random.Random:
    """Dice whose throws depend on nothing but these."""
    return random.Random("/".join(map(str, parts)))
