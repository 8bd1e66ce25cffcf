"""The backend itself: launch, terminate, list and follow instances that are local processes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.backends.process.family import Instance
from controller.backends.process.homes import Damaged, Homes
from controller.backends.process.joint import carry_through
from controller.backends.process.log_stream import LogStream
from controller.backends.process.record import Ending, Record
from controller.backends.process.spawn import choose_port, environment, resolve, spawn
from controller.backends.process.table import boot_id
from controller.backends.process.watch import Watch
from controller.errors import AgentpoolError, Misconfigured, Missing, Refused, Transient
from controller.ports import LaunchOrder, Pace, Remote, RemoteState

log = logging.getLogger(__name__)


class ProcessBackend:
    """Instances as processes of this host, each in a session of its own; Linux only.

    At most one process is ever started for a uid. Its record is on the disk before the start; the process carries its
    uid and the installation in its environment, which its children inherit; the record is completed after. Whoever
    comes later takes the record's word, and looks for the mark in the process table where it has none. The mark is
    looked for on the whole host: an installation has one root.

    Instances outlive the operator. A service manager must let them: with systemd, set ``KillMode=process``.

    The memory limit counts the whole instance: the table is read every half second, and when the resident memory of all
    its processes together (shared pages counted once) is above the limit, all of them are killed. So for up to half a
    second, longer on a host with very many processes, an instance can use more. Limits per process of the kernel
    (RLIMIT_AS, RLIMIT_DATA) are not used: they count address space, of which Node and Go reserve far more than they
    use, and not the instance. Instances are the first to be killed when the host itself runs out of memory.
    """

    def __init__(
        self,
        root: Path,
        *,
        installation: str,
        default_command: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._homes = Homes(root)
        self._installation = installation
        self._default_command = tuple(default_command)
        self._clock = clock
        self._boot = boot_id()
        self._hints: dict[str, Remote] = {}
        self._hinted = asyncio.Event()
        self._closed = False
        self._watch = Watch(self._homes, installation, clock, self._hint)
        self._watching: asyncio.Task[None] | None = None
        self._launches: set[asyncio.Task[Remote]] = set()
        self._promised_ports: set[int] = set()

    @property
    def pace(self) -> Pace:
        """Exits are told at once; lists only make sure."""
        return Pace()

    async def start(self) -> None:
        """Create the root where it is missing, and take up what is there. ``Misconfigured`` when it cannot work."""
        try:
            await asyncio.to_thread(self._homes.open)
        except Transient as error:
            raise Misconfigured(f"the process backend cannot start: {error}") from error
        self._watching = asyncio.create_task(self._watch.run())
        await self.list()

    async def launch(self, order: LaunchOrder) -> Remote:
        """Start the process, or find it started."""
        if self._closed:
            raise Transient("the process backend is closing")
        # A caller that gives up must not leave a process that nobody follows.
        task = asyncio.create_task(self._launch(order))
        self._launches.add(task)
        task.add_done_callback(self._launched)
        return await asyncio.shield(task)

    async def terminate(self, uid: str, *, grace: float) -> bool:
        """SIGTERM to its group, after ``grace`` seconds SIGKILL to all of it, then its directory is removed."""
        async with self._homes.lock(uid):
            try:
                instance = await self._take_up(uid)
            except Refused:
                # Another installation's: to this one it is unknown.
                return True
            if instance is None:
                await carry_through(self._homes.remove, uid)
                return True
            ending = instance.record.ending
            if ending is None:
                # Who is in the family now is written down too: the main process may be the first to go.
                instance.members(await self._watch.tables())
                await self._watch.write(instance, ending=Ending(asked_at=self._clock(), grace=grace))
            elif ending.grace != grace:
                await self._watch.write(instance, ending=ending.model_copy(update={"grace": grace}))
        await self._watch.look()
        if self._watch.instances.get(uid) is instance:
            if instance.stuck is not None:
                raise Transient(instance.stuck)
            return False
        self._hints.pop(uid, None)
        return True

    async def pause(self, uid: str) -> Remote:
        """``Refused``: its callers' connections, and its own deadlines, would not wait for a stopped process."""
        await self._find(uid)
        raise Refused(
            "PauseUnsupported",
            "the process backend cannot pause instances: set warmStrategy to Running, or use backend.docker",
        )

    async def resume(self, uid: str) -> Remote:
        """Find it running: nothing is ever paused."""
        return await self._find(uid)

    async def rename(self, uid: str, *, pool: str, agent_name: str) -> Remote:
        """Find it as it is: processes show no names."""
        return await self._find(uid)

    def logs(self, uid: str, *, tail: int | None = None, follow: bool = False) -> AsyncIterator[bytes]:
        """What is in its log file. Needs no ``start``, and disturbs nobody."""
        return LogStream(self._homes, self._installation, uid).chunks(tail, follow=follow)

    async def list(self) -> Sequence[Remote]:
        """Every instance with a directory or a process."""
        records = await asyncio.to_thread(self._read_all)
        table = await self._watch.tables()
        foreign = {uid for uid, record in records.items() if record and record.installation != self._installation}
        for uid, record in records.items():
            if record is not None and record.main is not None and uid not in foreign:
                self._watch.follow(Instance(record))
        doubtful = {*records, *table.uids} - self._watch.instances.keys() - foreign
        unresolved = await asyncio.gather(*map(self._resolve, doubtful))
        instances = list(self._watch.instances.values())
        ended = [i for i in instances if i.record.exit is None and not i.running(table)]
        unsettled = await asyncio.gather(*map(self._settle, ended))
        for instance in instances:
            record = instance.record
            unseen = record.exit is not None and record.uid not in records
            if unseen and not self._homes.exists(record.uid) and not instance.members(table):
                # A person removed its directory after it had ended.
                self._watch.instances.pop(record.uid, None)
        remotes = {uid: instance.record.remote() for uid, instance in self._watch.instances.items()}
        unknown = {each.uid: each for each in unresolved if each is not None and each.uid not in remotes}
        return [*(remotes | unknown | {each.uid: each for each in unsettled if each is not None}).values()]

    async def changes(self) -> AsyncIterator[Remote]:
        """Exits and completed ends, from the start of the backend on; the latest one of each instance."""
        while not self._closed:
            await self._hinted.wait()
            self._hinted.clear()
            while self._hints:
                yield self._hints.pop(next(iter(self._hints)))

    async def close(self) -> None:
        """Stop following; the processes run on."""
        self._closed = True
        if self._launches:
            await asyncio.wait(self._launches)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await self._watch.close()
        self._hinted.set()

    async def _launch(self, order: LaunchOrder) -> Remote:
        async with self._homes.lock(order.uid):
            instance = await self._take_up(order.uid)
            if instance is None:
                return (await self._start(order)).record.remote()
        return await self._as_it_is(instance)

    async def _find(self, uid: str) -> Remote:
        async with self._homes.lock(uid):
            try:
                instance = await self._take_up(uid)
            except Refused:
                # Another installation's: to this one it is unknown.
                instance = None
        if instance is None:
            raise Missing(f"instance {uid} has neither a directory below {self._homes.root} nor a process")
        return await self._as_it_is(instance)

    async def _as_it_is(self, instance: Instance) -> Remote:
        if instance.record.exit is None:
            await self._watch.settle(instance)
        return instance.record.remote()

    def _launched(self, task: asyncio.Task[Remote]) -> None:
        self._launches.discard(task)
        if not task.cancelled():
            # Retrieved here too, in case the caller has given up.
            task.exception()

    async def _start(self, order: LaunchOrder) -> Instance:
        port = choose_port(self._promised_ports | {i.record.port or 0 for i in self._watch.instances.values()})
        self._promised_ports.add(port)
        try:
            record = Record(
                uid=order.uid,
                installation=self._installation,
                name=order.name,
                namespace=order.namespace,
                pool=order.pool,
                command=order.template.command or self._default_command,
                port=port,
                memory=order.template.resources.memory,
                created_at=self._clock(),
                boot=self._boot,
            )
            instance = self._watch.follow(Instance(await carry_through(self._bring_up, record, order)))
        finally:
            self._promised_ports.discard(port)
        log.info("instance %s of pool %s runs as %s", order.uid, order.pool, instance.record.remote().backend_id)
        return instance

    def _bring_up(self, record: Record, order: LaunchOrder) -> Record:
        """Record, process, record. After a death at any line the next one finds the record, the process, or nothing."""
        uid, state = record.uid, self._homes.state(record.uid)
        env = environment(order.env, uid=uid, installation=self._installation, port=record.port or 0, state=state)
        command = resolve(record.command, env["PATH"])
        self._homes.remove(uid)
        self._homes.create(record)
        try:
            main = spawn(command, env, state=state, log=self._homes.log(uid))
        except BaseException:
            self._homes.remove(uid)
            raise
        record = record.model_copy(update={"main": main})
        try:
            self._homes.write(record)
        except Transient as error:
            log.warning("the record of instance %s lacks its pid, its mark will do: %s", uid, error)
        return record

    async def _take_up(self, uid: str) -> Instance | None:
        """What there is of an instance, with its lock held; ``None`` when it was never started."""
        if uid in self._watch.instances:
            return self._watch.instances[uid]
        damage = ""
        try:
            record = await asyncio.to_thread(self._homes.read, uid)
        except Damaged as error:
            record, damage = None, str(error)
        if record is not None:
            if record.installation != self._installation:
                raise Refused(
                    "AnotherInstallation",
                    f"{self._homes.root / uid} belongs to installation {record.installation}: give each its own root",
                )
            record = record.after_boot(self._boot)
            if record.main is not None:
                return self._watch.follow(Instance(record))
        return await self._take_up_by_mark(uid, record, damage)

    async def _take_up_by_mark(self, uid: str, record: Record | None, damage: str) -> Instance | None:
        process = (await self._watch.tables()).main_of(uid)
        if process is None and not damage:
            return None
        found: dict[str, Any] = {}
        if process is not None:
            found = {"main": process.identity, "port": process.port}
            log.info("instance %s was found by its mark: pid %d", uid, process.identity.pid)
        else:
            found = {"exit": f"was lost: its {damage}, and no process of it is left"}
        if damage:
            log.warning("%s: %s; it is written anew", self._homes.root / uid, damage)
        base = record or Record(uid=uid, installation=self._installation, boot=self._boot, created_at=self._clock())
        instance = self._watch.follow(Instance(base.model_copy(update=found)))
        await self._watch.write(instance)
        return instance

    async def _settle(self, instance: Instance) -> Remote | None:
        """Find out how it ended; answers what is to be said of it when that is not known."""
        try:
            await self._watch.settle(instance)
        except Transient as error:
            return replace(instance.record.remote(), state=RemoteState.UNKNOWN, message=str(error))
        return None

    async def _resolve(self, uid: str) -> Remote | None:
        """Find out about a uid whose record does not say what its process is; answers what is to be said of it when
        that is not known."""
        try:
            async with self._homes.lock(uid):
                if await self._take_up(uid) is None:
                    # Its launch was interrupted before the process was started, and may be ordered anew.
                    await carry_through(self._homes.remove, uid)
        except Transient as error:
            # What is not in a list does not exist, and this one may run.
            log.warning("what there is of instance %s is not known now: %s", uid, error)
            return Remote(uid, "no process", RemoteState.UNKNOWN, message=str(error))
        except AgentpoolError as error:
            log.warning("instance %s is left out of the list: %s", uid, error)
        return None

    def _read_all(self) -> dict[str, Record | None]:
        return {uid: self._read_or_doubt(uid) for uid in self._homes.uids()}

    def _read_or_doubt(self, uid: str) -> Record | None:
        try:
            record = self._homes.read(uid)
        except Damaged:
            return None
        return record.after_boot(self._boot) if record is not None else None

    def _hint(self, remote: Remote) -> None:
        self._hints[remote.uid] = remote
        self._hinted.set()
