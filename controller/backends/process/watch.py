"""Follow instances: notice their exit, press on with their end, hold them to their memory limit."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace

from controller.backends.process.family import Instance, ask, force, open_pidfd
from controller.backends.process.homes import Homes
from controller.backends.process.joint import JointRun, carry_through
from controller.backends.process.memory import exceeds
from controller.backends.process.output import keep_small, last_line
from controller.backends.process.spawn import exit_of
from controller.backends.process.table import Process, Table, read_table
from controller.errors import AgentpoolError, Transient
from controller.ports import Remote, RemoteState

log = logging.getLogger(__name__)

ENDING_SECONDS = 0.05
"""How often the table is read while an instance ends."""
WATCH_SECONDS = 0.5
"""How often it is read while an instance has a memory limit."""
LOG_SECONDS = 30.0
"""How often the size of the logs is looked at."""
LEISURE = 10
"""Reading the table takes at most one part in so many of the time, however many processes the host has."""
UNKNOWN_EXIT = "exited (with what code is not known: it outlived the operator that started it)"
LAST_LINE = "; last line of its log: "

Work = tuple[Instance, list[Process]]


class Watch:
    """The instances of one root in this process, by uid."""

    def __init__(self, homes: Homes, installation: str, clock: Callable[[], float], tell: Callable[[Remote], None]):
        self.instances: dict[str, Instance] = {}
        self.tables: JointRun[Table] = JointRun(self._read)
        self.look: JointRun[None] = JointRun(self._look)
        self._homes = homes
        self._installation = installation
        self._clock = clock
        self._tell = tell
        self._wake = asyncio.Event()
        self._cost = 0.0
        self._refused: set[str] = set()
        """Why some could not be seen to, as of the last look."""

    def follow(self, instance: Instance) -> Instance:
        """Hear of its exit from now on, be it our child or not."""
        uid, main = instance.record.uid, instance.record.main
        if uid in self.instances:
            return self.instances[uid]
        self.instances[uid] = instance
        if main is not None and instance.record.exit is None:
            instance.pidfd = open_pidfd(main)
        if instance.pidfd is not None:
            asyncio.get_running_loop().add_reader(instance.pidfd, self._exited, instance)
        self._wake.set()
        return instance

    async def run(self) -> None:
        """Look whenever there is something to look for, until cancelled."""
        loop = asyncio.get_running_loop()
        logs_at = loop.time() + LOG_SECONDS
        while True:
            pause = max(self._pause(), LEISURE * self._cost)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, max(0.0, logs_at - loop.time()))):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self._pause() < LOG_SECONDS:
                    await self.look()
                if loop.time() >= logs_at:
                    logs_at = loop.time() + LOG_SECONDS
                    await asyncio.to_thread(self._keep_logs_small, tuple(self.instances))
            except AgentpoolError as error:
                log.warning("instances are not watched for a moment: %s", error)
            except Exception:
                log.exception("instances are not watched for a moment")

    async def close(self) -> None:
        """Forget the instances; they live on."""
        await self.look.settle()
        for instance in self.instances.values():
            self._let_go(instance)
        self.instances.clear()

    async def settle(self, instance: Instance) -> None:
        """Find out whether its main process has ended, and if so how; write it down and tell."""
        async with self._homes.lock(instance.record.uid, glance=True):
            if self.instances.get(instance.record.uid) is not instance or instance.record.exit is not None:
                return
            table = await self.tables()
            if instance.running(table):
                return
            # While it is a zombie its session and group are certainly its own: the last chance to see who is in them.
            members = instance.members(table)
            self._let_go(instance)
            message = await carry_through(self._post_mortem, instance, table)
            # The directory of an ending one is about to go: nobody would read it there.
            ending = instance.record.ending is not None
            if not await self.write(instance, disk=not ending, exit=message) and not members:
                # A person, or another controller, removed it.
                del self.instances[instance.record.uid]
            # Only how it ended: the last line of its log may hold what it was given in confidence.
            log.info("instance %s %s", instance.record.uid, message.partition(LAST_LINE)[0])
            self._tell(instance.record.remote())

    async def write(self, instance: Instance, *, disk: bool = True, **changes: object) -> bool:
        """Change its record, with its lock held; False when its directory is gone.

        What cannot be written now is still known here, and found again in the table by whoever comes after.
        """
        instance.record = instance.record.model_copy(update=changes)
        self._wake.set()
        try:
            return not disk or await carry_through(self._homes.write, instance.record)
        except Transient as error:
            log.warning("the record of instance %s is not up to date: %s", instance.record.uid, error)
            return True

    def _exited(self, instance: Instance) -> None:
        # Looks settle what has no descriptor: the next one, and if that cannot, the one after.
        self._let_go(instance)
        self._wake.set()

    def _let_go(self, instance: Instance) -> None:
        if instance.pidfd is not None:
            asyncio.get_running_loop().remove_reader(instance.pidfd)
            os.close(instance.pidfd)
            instance.pidfd = None

    def _pause(self) -> float:
        """Seconds until the next look; the longest one means that none is needed."""
        if any(i.record.ending or (i.doomed and i.record.kin) for i in self.instances.values()):
            return ENDING_SECONDS
        if any(i.record.exit is None and (i.limit is not None or i.pidfd is None) for i in self.instances.values()):
            return WATCH_SECONDS
        return LOG_SECONDS

    async def _read(self) -> Table:
        return await asyncio.to_thread(self._read_measured)

    def _read_measured(self) -> Table:
        began = time.thread_time()
        table = read_table(self._installation)
        self._cost = time.thread_time() - began
        return table

    async def _look(self) -> None:
        table = await self.tables()
        instances = list(self.instances.values())
        refused = await self._each(self.settle(i) for i in instances if i.record.exit is None and not i.running(table))
        work = [(i, i.members(table)) for i in instances if i.record.ending or i.limit is not None or i.doomed]
        await carry_through(self._press, work, table, self._clock())
        if quiet := [instance for instance, members in work if instance.record.ending and not members]:
            # A process that was born of a dying one while the table was read may be missing from it, but not twice.
            table = await self.tables()
            refused |= await self._each(self._finish(i) for i in quiet if not i.members(table))
        for sentence in refused - self._refused:
            log.warning("an instance is not watched for a moment: %s", sentence)
        self._refused = refused

    async def _each(self, works: Iterable[Awaitable[None]]) -> set[str]:
        """Do them side by side, and answer what kept some from being done: the next look tries those again.

        A frozen controller keeps the locks that it had: they are no reason not to end, or to start, others.
        """
        refused = set()
        for outcome in await asyncio.gather(*works, return_exceptions=True):
            match outcome:
                case Transient():
                    refused.add(str(outcome))
                case BaseException():
                    raise outcome
        return refused

    def _press(self, work: list[Work], table: Table, now: float) -> None:
        for instance, members in work:
            record, limit = instance.record, instance.limit
            if limit is not None and record.exit is None and not instance.doomed and exceeds(members, limit):
                instance.doomed = f"exceeded its memory limit of {record.memory} and was killed"
            # A clock that was set back must not make it wait for hours.
            overdue = record.ending is not None and abs(now - record.ending.asked_at) >= record.ending.grace
            if instance.doomed or overdue:
                strangers = force(members)
                instance.stuck = _foreign(strangers[0]) if strangers else None
            elif record.ending is not None:
                ask(instance, members, table)

    async def _finish(self, instance: Instance) -> None:
        """Nothing of it runs: remove what is left and say so."""
        uid = instance.record.uid
        async with self._homes.lock(uid, glance=True):
            if self.instances.get(uid) is not instance:
                return
            try:
                await carry_through(self._homes.remove, uid)
            except Transient as error:
                instance.stuck = str(error)
                return
            self._let_go(instance)
            # A list that ran meanwhile may have seen that it is gone.
            self.instances.pop(uid, None)
            log.info("instance %s is gone", uid)
            gone = instance.record.remote()
            self._tell(replace(gone, state=RemoteState.EXITED, message="was terminated"))

    def _post_mortem(self, instance: Instance, table: Table) -> str:
        how = _collect(instance, table)
        if instance.doomed is not None:
            return instance.doomed
        line = last_line(self._homes.log(instance.record.uid))
        return (how or UNKNOWN_EXIT) + (f"{LAST_LINE}{line}" if line else "")

    def _keep_logs_small(self, uids: tuple[str, ...]) -> None:
        for uid in uids:
            try:
                keep_small(self._homes.log(uid))
            except OSError as error:
                log.warning("the log of instance %s cannot be shortened: %s", uid, error)


def _collect(instance: Instance, table: Table) -> str | None:
    """How it ended, when it was our child; its zombie is no more after that."""
    process = table.find(instance.record.main)
    if process is None or not process.ended or process.parent != os.getpid():
        return None
    return exit_of(process.identity.pid)


def _foreign(process: Process) -> str:
    pid = process.identity.pid
    return f"process {pid} of the instance runs as another user and cannot be killed: end it with sudo kill -9 {pid}"
