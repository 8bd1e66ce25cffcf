"""Programs that the benchmark starts, and what /proc says of their cost."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

STOP_SECONDS = 20.0
READY_SECONDS = 60.0


class UnfinishedError(Exception):
    """A scenario did not come to its end; the text says what was waited for."""


def free_port(*, following: int = 0) -> int:
    """A TCP port of the loopback that nobody listens on, nor on the ``following`` ones after it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if all(_is_free(port + offset) for offset in range(following + 1)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def cpu_seconds(pid: int) -> float:
    """User and system time of a process until now."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def busy_seconds() -> float:
    """CPU time that the whole machine has spent on anything until now."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def peak_megabytes(pid: int) -> float:
    """The largest resident set that a process ever had, in megabytes of 2^20 bytes; where /proc is missing, today's."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return float(psutil.Process(pid).memory_info().rss) / 2**20
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


@dataclass(slots=True)
class Program:
    """A running subprocess in a session of its own, so that an interrupt of the benchmark lets it clean up first."""

    name: str
    log: Path
    started_at: float
    _process: asyncio.subprocess.Process

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> "Program":
        """Start it; its output is appended to ``log``."""
        started_at = time.perf_counter()
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        return cls(name, log, started_at, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; nothing if it has ended."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM, then SIGKILL after STOP_SECONDS; the exit code."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    async def answering(self, session: aiohttp.ClientSession, url: str) -> float:
        """Wait until it answers there with 200; seconds since its start."""
        while (elapsed := time.perf_counter() - self.started_at) < READY_SECONDS:
            self.check_alive()
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return time.perf_counter() - self.started_at
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)
        raise UnfinishedError(f"the {self.name} was not ready after {elapsed:.0f} s:\n{self.last_words()}")

    def check_alive(self) -> None:
        """``UnfinishedError`` when it has ended."""
        if self.exit_code is not None:
            raise UnfinishedError(f"the {self.name} ended with exit code {self.exit_code}:\n{self.last_words()}")
