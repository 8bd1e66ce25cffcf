"""What a Docker engine, and the way to it, do on a bad day: the same story with containers instead of processes."""

import random
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.contract.backend.docker_proxy import Fault as Trouble
from tests.contract.backend.docker_proxy import Proxy, Rule
from tests.docker import image
from tests.docker.api import Engine
from tests.docker.engine import answering_engine
from tests.e2e.api import Object
from tests.e2e.system import uid_of
from tests.e2e_docker.stage import UID, DockerSystem
from tests.faults.fault import ENGINE, Fault
from tests.faults.servers import ApiServer
from tests.faults.stage import Plan, Stage

_CHANGES = (("POST", "/create"), ("POST", "/start"), ("POST", "/stop"), ("DELETE", ""))
_TIMES = 6
_SPARED = 0.5
"""How many of the calls go well."""


@dataclass
class Containers(DockerSystem):
    """What there is of instances at the engine, in the words of a host."""

    def pids(self, instance: Object) -> set[int]:
        return {pid for pid in self.families().get(uid_of(instance), ()) if pid}

    def families(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for each in self.containers():
            if each["State"] in {"running", "paused"}:
                shown = self.engine.get(f"/containers/{each['Id']}/json")
                found.setdefault(each["Labels"][UID], []).append(int(shown["State"]["Pid"]))
        return found

    def homes(self) -> set[str]:
        return {str(each["Labels"][UID]) for each in (*self.containers(), *self.volumes())}


class _OfEngine(Fault):
    """The story is told on containers, and an operator reaches their engine only through a proxy."""

    peer = ENGINE
    at = 0
    lasts = 8.0

    def __init__(self, name: str, sentence: str, trouble: Trouble | None) -> None:
        self.name, self.sentence = name, sentence
        self._trouble = trouble
        """What happens to a call; ``None``: none gets through at all."""
        self._folder = Path()
        self._proxies: list[Proxy] = []
        self._struck = 0

    def lacks(self, server: ApiServer) -> str | None:
        return None if answering_engine() else "no Docker engine answers"

    def prepare(self, plan: Plan) -> None:
        with closing(Engine(_engine())) as engine:
            made = image.agent_image(engine)
        self._folder = Path(tempfile.mkdtemp(prefix="ap-"))  # a socket has to have a short path
        plan.env |= {"AGENTPOOL_BACKENDS": "docker", "DOCKER_HOST": f"unix://{self._socket}"}
        plan.pool |= {
            "backend": {"docker": {}},
            "template": {"image": made, "volume": {}},
            "circuitBreaker": {"openSeconds": 2},
        }

    def strike(self, stage: Stage, dice: random.Random) -> None:
        installation = stage.api.installation(stage.api.namespace)
        made = str(stage.plan.pool["template"]["image"])
        system = vars(stage.system)
        stage.system = Containers(**system, engine=Engine(_engine()), image=made, installation=installation)
        proxy = stage.loop.call(lambda: Proxy(_engine(), self._socket))
        self._proxies, self._struck = [proxy], 0
        stage.at_the_end(lambda: shutil.rmtree(self._folder))
        stage.at_the_end(lambda: stage.loop.run(proxy.close()))
        stage.loop.run(proxy.start())
        if self._trouble is None:
            stage.later(dice.uniform(1.0, self.lasts - 3.0), self._go_away)
        else:
            proxy.rule = self._rule(self._trouble, dice)

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage)

    def heal(self, stage: Stage) -> None:
        for proxy in self._proxies:
            proxy.rule, proxy.down = lambda method, path: None, False
            stage.loop.call(proxy.release.set)

    def struck(self, stage: Stage) -> bool:
        return self._struck > 0

    @property
    def _socket(self) -> Path:
        return self._folder / "proxy"

    def _go_away(self) -> None:
        self._struck += 1
        for proxy in self._proxies:
            proxy.down = True

    def _rule(self, trouble: Trouble, dice: random.Random) -> Rule:
        def rule(method: str, path: str) -> Trouble | None:
            changes = any(method == verb and path.endswith(ending) for verb, ending in _CHANGES)
            if not changes or self._struck >= _TIMES or dice.random() < _SPARED:
                return None
            self._struck += 1
            return trouble

        return rule


def _engine() -> str:
    host = answering_engine()
    assert host is not None, "the Docker engine has gone away"
    return host


ENGINE_FAULTS: tuple[Fault, ...] = (
    _OfEngine(
        "answers of the engine get lost",
        "the engine does what it was asked, and the connection breaks before it answers, six times",
        Trouble.CUT_AFTER,
    ),
    _OfEngine("the engine fails", "the engine answers 500 without doing anything, six times", Trouble.FAIL_BEFORE),
    _OfEngine(
        "the engine fails too late",
        "the engine answers 500 after doing what it was asked, six times",
        Trouble.FAIL_AFTER,
    ),
    _OfEngine(
        "the engine hangs",
        "six calls are not carried out, and nobody is told so for some seconds: then the connection breaks",
        Trouble.HANG_BEFORE,
    ),
    _OfEngine(
        "the engine hangs too late",
        "the engine does what it was asked and does not say so for some seconds, then the connection breaks, six times",
        Trouble.HANG_AFTER,
    ),
    _OfEngine(
        "calls come late to the engine",
        "six calls get to the engine long after nobody waits for them any more",
        Trouble.HOLD,
    ),
    _OfEngine("the engine is away", "no call gets through to the engine for some seconds", None),
)
