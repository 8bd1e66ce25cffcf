"""The instances that this controller follows, and the signals that reach all of one."""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from controller.backends.process.record import Record
from controller.backends.process.table import Identity, Process, Table, identify
from controller.errors import Transient
from controller.model.quantities import memory_bytes


@dataclass(slots=True)
class Instance:
    """One instance in the memory of this controller; on the disk is its record."""

    record: Record
    pidfd: int | None = None
    """Readable once the main process has ended; ``None`` when it has, or when it must be looked for in the table."""
    doomed: str | None = None
    """Why it is being killed without having been asked to stop."""
    asked: set[Identity] = field(default_factory=set)
    """Processes that were asked to stop."""
    stuck: str | None = None
    """Why its end makes no progress, in a sentence."""
    limit: int | None = None
    """Bytes of memory that the whole instance may use."""

    def __post_init__(self) -> None:
        self.limit = memory_bytes(self.record.memory) if self.record.memory is not None else None

    def members(self, table: Table) -> list[Process]:
        """Its living processes; they are remembered, so that later they are found even if they hide."""
        members = table.family(self.record.uid, self.record.main, self.record.kin)
        kin = tuple(sorted(process.identity for process in members))
        if kin != self.record.kin:
            self.record = self.record.model_copy(update={"kin": kin})
        return members

    def running(self, table: Table) -> bool:
        """Whether its main process runs."""
        return table.alive(self.record.main)


def ask(instance: Instance, members: Iterable[Process], table: Table) -> None:
    """SIGTERM: to the group while the main process lives, to whatever is left after it; once to each."""
    main = instance.record.main
    if main is not None and main not in instance.asked and table.alive(main):
        instance.asked.add(main)
        instance.asked.update(process.identity for process in members if process.group == main.pid)
        if not any(process.identity == main and process.group == main.pid for process in members):
            # Found by its mark, it need not lead a group; a signal to that group would reach nobody.
            send(main, signal.SIGTERM)
        elif identify(main.pid) == main:
            _quietly(os.killpg, main.pid, signal.SIGTERM)
    elif not table.alive(main):
        for process in members:
            if process.identity not in instance.asked:
                instance.asked.add(process.identity)
                send(process.identity, signal.SIGTERM)


def force(members: Iterable[Process]) -> list[Process]:
    """SIGKILL to every one; returns those that this user may not kill."""
    return [process for process in members if not send(process.identity, signal.SIGKILL)]


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal exactly that process, not one that got its pid since; False when it is another user's."""
    pidfd = open_pidfd(identity)
    if pidfd is None:
        # It is gone, or no descriptor is left: the check is then not bound to the signal, but microseconds before it.
        return identify(identity.pid) != identity or _quietly(os.kill, identity.pid, number)
    try:
        return _quietly(signal.pidfd_send_signal, pidfd, number)
    finally:
        os.close(pidfd)


def open_pidfd(identity: Identity) -> int | None:
    """A descriptor of exactly that process; ``None`` when it is gone, or no descriptor is left."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    # Looked at after opening: from here on the descriptor cannot come to mean another process.
    with suppress(Transient):
        if identify(identity.pid) == identity:
            return pidfd
    os.close(pidfd)
    return None


def _quietly(deliver: Callable[[int, signal.Signals], None], target: int, number: signal.Signals) -> bool:
    try:
        deliver(target, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True
