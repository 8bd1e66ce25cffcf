"""The API server, or its etcd, is killed or frozen: the processes themselves, not a proxy."""

import random
import signal

from tests.faults.fault import API_SERVER, Fault
from tests.faults.servers import ApiServer
from tests.faults.stage import Stage


class _OfAProcess(Fault):
    peer = API_SERVER
    leaderless = True

    def __init__(self, name: str, sentence: str, part: str) -> None:
        self.name, self.sentence = name, sentence
        self.lasts = 1.0
        self._part = part

    def lacks(self, server: ApiServer) -> str | None:
        if self._part in server.parts:
            return None
        return f"the {server.name} API server has no {self._part} that the suite may touch"


class Killed(_OfAProcess):
    """kill -9, and started again."""

    def strike(self, stage: Stage, dice: random.Random) -> None:
        stage.server.kill(self._part)

    def heal(self, stage: Stage) -> None:
        stage.server.start(self._part)


class Frozen(_OfAProcess):
    """SIGSTOP, and SIGCONT."""

    def strike(self, stage: Stage, dice: random.Random) -> None:
        stage.server.signal(self._part, signal.SIGSTOP)

    def heal(self, stage: Stage) -> None:
        stage.server.signal(self._part, signal.SIGCONT)


SERVER_FAULTS: tuple[Fault, ...] = (
    Killed("API server killed", "kill -9 of the API server, and a new one a second later", "apiserver"),
    Frozen("API server frozen", "SIGSTOP of the API server for a second", "apiserver"),
    Killed("etcd killed", "kill -9 of etcd, and a new one a second later", "etcd"),
    Frozen("etcd frozen", "SIGSTOP of etcd for a second", "etcd"),
)
