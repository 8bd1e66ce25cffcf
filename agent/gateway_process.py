"""The gateway as a child process: its own process group, restarted by policy, never outliving us."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from agent.log import Log
from agent.offspring import Main, go_on_as
from agent.restart import GiveUp, Restart, RestartPolicy, Stop, after_exit


class GatewayEnd(Enum):
    """Why supervision of the gateway ended by itself."""

    STOPPED = "stopped"
    GAVE_UP = "gave up"


class GatewayProcess:
    """Starts the gateway, learns the port it announces, and takes its whole process group down at the end.

    The child inherits two pipes: standard input, whose end of file tells it that the supervisor
    is gone (even by kill -9), and a descriptor on which it writes the port it listens on.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Log,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        program: Main | None = None,
        policy: RestartPolicy | None = None,
        grace_seconds: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``program`` is what the command, ``python -m module ...``, would run: its first start is a fork."""
        self._command = tuple(command)
        # The first start only: later there are threads, and a fork would find their locks as they are.
        self._program = program
        self._environment = environment
        self._directory = directory
        self._log = log
        self._policy = policy or RestartPolicy()
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._sleep = sleep
        self._port: int | None = None
        self.started = asyncio.Event()

    @property
    def port(self) -> int | None:
        """The port the running gateway announced; None while there is none."""
        return self._port

    async def supervise(self) -> GatewayEnd:
        """Run the gateway until it stops or is given up; cancelling this ends its process group."""
        short_crashes = 0
        while True:
            since = self._clock()
            exit_code = await self._run()
            match after_exit(exit_code, self._clock() - since, short_crashes, self._policy):
                case Stop():
                    self._log.info("the gateway stopped", exit_code=exit_code)
                    return GatewayEnd.STOPPED
                case GiveUp(short_crashes=row):
                    self._log.error("the gateway keeps crashing: giving up", exit_code=exit_code, short_crashes=row)
                    return GatewayEnd.GAVE_UP
                case Restart(after_seconds=pause, short_crashes=row):
                    short_crashes = row
                    self._log.warning("the gateway crashed", exit_code=exit_code, short_crashes=row, restart_in=pause)
                    await self._sleep(pause)

    async def _run(self) -> int:
        announced, announce = os.pipe()
        options = ("--announce-fd", str(announce))
        program, self._program = self._program, None
        fork = self._forked(program, options, announce) if program is not None else None
        try:
            process = await self._start(options, announce, fork)
        except BaseException:
            os.close(announced)
            raise
        finally:
            os.close(announce)
        self.started.set()
        listening = asyncio.create_task(self._learn_port(announced, process.pid))
        try:
            return await process.wait()
        finally:
            self._port = None
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self._end_group(process)

    async def _start(
        self, options: Sequence[str], announce: int, fork: Callable[[], None] | None
    ) -> asyncio.subprocess.Process:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *self._command,
                *options,
                preexec_fn=fork,
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(announce,),
                env=self._environment,
                cwd=self._directory,
                start_new_session=True,
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A start that is broken off kills its child alone, which may have children by then.
            with suppress(OSError):
                await self._end_group(await starting)
            raise

    def _forked(self, program: Main, options: Sequence[str], announce: int) -> Callable[[], None]:
        # What follows the name of the module in: python -m module ...
        arguments = (*self._command[self._command.index("-m") + 2 :], *options)
        environment = self._environment if self._environment is not None else dict(os.environ)
        return lambda: go_on_as(program, arguments, environment, announce)

    async def _learn_port(self, announced: int, pid: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(announced, "rb", buffering=0)
        )
        try:
            line = await reader.readline()
        finally:
            transport.close()
        self._port = port_in(line)
        if self._port is not None:
            self._log.info("the gateway listens", pid=pid, gateway_port=self._port)

    async def _end_group(self, process: asyncio.subprocess.Process) -> None:
        """Ask the whole group to end, then kill what is left of it after the grace period."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not _signal_group(process.pid, number):
                break
            deadline = self._clock() + self._grace_seconds
            # Nothing signals that a process group became empty.
            while _anybody_left(process) and self._clock() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        if process.returncode is None:
            await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def port_in(line: bytes) -> int | None:
    """The port in the line that a gateway announces itself with; None for anything else."""
    digits = line.strip()
    return int(digits) if digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536 else None


def _anybody_left(process: asyncio.subprocess.Process) -> bool:
    """Whether the group still has members, the dead that nobody reaped included."""
    if process.returncode is not None:
        # As the first process of a container we inherit the group's orphans; asyncio reaped only the leader.
        with suppress(ChildProcessError):
            while os.waitpid(-process.pid, os.WNOHANG)[0]:
                pass
    return _signal_group(process.pid, 0)


def _signal_group(group: int, number: int) -> bool:
    """Signal every member; False when the group is empty."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)
        return True
    return False
