"""What must never be seen, whatever is killed: two runs of one instance, one conversation for two claims."""

import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from tests.e2e.api import Api, Object
from tests.e2e_docker.stage import UID

PAUSE = 0.2
"""Seconds between two looks, which cost something themselves."""


@dataclass(frozen=True, order=True)
class Process:
    """The first one of a container."""

    since: float
    pid: int
    container: str
    state: str

    def __str__(self) -> str:
        return (
            f"{self.pid} of container {self.container[:12]}, {self.state}, since {datetime.fromtimestamp(self.since)}"
        )


def runs(engine: Path) -> Counter[str]:
    """How many containers of each instance run, by the processes that the engine in that folder has started."""
    return Counter({uid: len(found) for uid, found in processes(engine).items()})


def processes(engine: Path, names: Collection[str] = ("docker-init",)) -> dict[str, list[Process]]:
    """Those of each instance. An engine that was killed forgets some things; the kernel does not."""
    found: dict[str, list[Process]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() not in names or process.status() == psutil.STATUS_ZOMBIE:
                continue
            parent = process.parent()
            shim = parent.cmdline() if parent is not None else []
            if any(word.startswith(f"{engine}/") for word in shim):
                container = shim[shim.index("-id") + 1] if "-id" in shim[:-1] else "?"
                seen = Process(process.create_time(), process.pid, container, process.status())
                found.setdefault(process.environ().get("INSTANCE_ID", ""), []).append(seen)
    return found


class Witness:
    """Looks again and again from a thread of its own, at what can be looked at while things are being killed."""

    def __init__(self, engine: Path, installation: str, kubeconfig: Path, namespace: str) -> None:
        self.violations: set[str] = set()
        self.strays: set[str] = set()
        """Containers of which two first processes were seen. An engine that is killed in the middle of a start may
        start the container once more; what it left of the first time it has forgotten."""
        self.looks = 0
        self.most_running = 0
        self._engine = engine
        self._filters = quote(json.dumps({"label": [f"agentpool.dev/installation={installation}"]}))
        self._api = Api(kubeconfig, namespace)
        self._claim_of: dict[str, str] = {}
        self._conversation_of: dict[str, str] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._look_for_ever, daemon=True)

    def __enter__(self) -> "Witness":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._api.http.close()

    def _look_for_ever(self) -> None:
        while not self._ending.wait(PAUSE):
            self._never_two_processes()
            with suppress(OSError, http.client.HTTPException, ValueError):
                self._never_two_containers()
            with suppress(httpx.TransportError):
                for claim in self._api.all("agentclaims"):
                    self._look_at(claim)
            self.looks += 1

    def _never_two_processes(self) -> None:
        found = processes(self._engine)
        self.most_running = max(self.most_running, len(found))
        for uid, seen in found.items():
            if len(seen) > 1:
                one_container = len({process.container for process in seen}) == 1
                told = self.strays if one_container else self.violations
                told.add(f"instance {uid} runs twice: {'; '.join(map(str, sorted(seen)))}")

    def _never_two_containers(self) -> None:
        counts = Counter(self._running())
        self.violations |= {f"{number} containers of instance {uid}" for uid, number in counts.items() if number > 1}

    def _running(self) -> Iterator[str]:
        path = f"/containers/json?filters={self._filters}"
        for container in _ask(self._engine / "docker.sock", path):
            yield container["Labels"][UID]

    def _look_at(self, claim: Object) -> None:
        status, uid = claim.get("status", {}), str(claim["metadata"]["uid"])
        conversation = status.get("conversationId")
        if conversation is None:
            return
        other = self._claim_of.setdefault(conversation, uid)
        if other != uid:
            self.violations.add(f"conversation {conversation} of claim {other} was given to claim {uid}")
        if status.get("phase") == "Bound":
            first = self._conversation_of.setdefault(uid, conversation)
            if first != conversation:
                self.violations.add(f"claim {uid} was bound with conversation {first}, and then with {conversation}")


class _Connection(http.client.HTTPConnection):
    """To a unix socket, and closed whatever happens: an engine may be killed at any moment."""

    def __init__(self, place: Path) -> None:
        super().__init__("engine", timeout=10)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._place))


def _ask(place: Path, path: str) -> Any:
    with closing(_Connection(place)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(answer.reason)
        return json.loads(answer.read())
