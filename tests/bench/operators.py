"""The controller process of a scenario: what is measured."""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson

from tests.bench.figures import Request, counters
from tests.bench.processes import Program, UnfinishedError, free_port, peak_megabytes

_PROBLEMS = frozenset({"warning", "error", "critical"})


@dataclass(frozen=True, slots=True)
class Invocation:
    """How it is started."""

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Operator:
    """It may be stopped and started again; its log goes on."""

    def __init__(self, session: aiohttp.ClientSession, log: Path, invocation: Callable[[int], Invocation]) -> None:
        """``invocation``: how to start it with a port for its HTTP side."""
        self._session = session
        self._log = log
        self._invocation = invocation
        self._url = ""
        self._program: Program | None = None

    async def start(self) -> float:
        """Start it; seconds until it is ready."""
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        how = self._invocation(port)
        self._program = await Program.start("controller", how.command, log=self._log, env=how.env)
        return await self._program.answering(self._session, f"{self._url}/readyz")

    async def stop(self) -> float:
        """End it as an update would; seconds that it took."""
        began = time.perf_counter()
        code = await self._started.stop()
        if code != 0:
            raise UnfinishedError(f"the controller ended with exit code {code} on SIGTERM:\n{self.last_words()}")
        return time.perf_counter() - began

    async def end(self) -> None:
        """End it in whatever way; nothing if it was never started."""
        if self._program is not None:
            await self._program.stop()

    def keep_log(self, file: Path) -> None:
        """Copy its log, if there is one."""
        if self._log.exists():
            shutil.copyfile(self._log, file)

    @property
    def _started(self) -> Program:
        if self._program is None:
            raise UnfinishedError("the controller was never started")
        return self._program

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started.pid

    def check_alive(self) -> None:
        """``UnfinishedError`` when it has ended by itself."""
        self._started.check_alive()

    def last_words(self) -> str:
        """The end of its log."""
        return self._started.last_words()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._started.signal(number)

    def memory(self) -> float:
        """Its peak resident set in MB."""
        return peak_megabytes(self.pid)

    def log_problems(self) -> int:
        """How many lines of its log say warning or worse."""
        count = 0
        for line in self._log.read_bytes().splitlines():
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # a library printed it
            count += isinstance(entry, dict) and entry.get("level") in _PROBLEMS
        return count

    async def counters(self) -> tuple[Counter[Request], Counter[str]]:
        """Its requests to the API server, and its passes."""
        async with self._session.get(f"{self._url}/metrics", raise_for_status=True) as response:
            return counters(await response.text())
