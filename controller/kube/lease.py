"""Leadership: any number of replicas stand by, and one of them leads, by a Lease of coordination.k8s.io/v1."""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from random import Random, SystemRandom
from typing import Any, Protocol

from controller import metrics
from controller.core.election import Election, LeaseRecord, Terms
from controller.errors import AgentpoolError, Conflict, Missing, Transient
from controller.kube.answers import lease_in
from controller.kube.client import KubeCluster
from controller.ports import Fence

log = logging.getLogger(__name__)

Work = Callable[[Fence], Awaitable[None]]
"""What whoever leads does: it goes on until it is cancelled, and asks the fence before every effect."""
Tell = Callable[[bool, str], None]
"""Takes whether all is well with a process that does not lead, and a sentence on how it stands."""

RETRY_SECONDS = 0.3
"""How soon a renewal that failed is tried again."""
PATIENCE = 2 / 3
"""What part of the time that is left one try may take, so that there is time for another one."""
GIVE_UP_SECONDS = 2.0
"""How long a process that stops tries to give the Lease up; then it runs out by itself."""


class Leadership(Protocol):
    """Decides who leads."""

    async def lead(self, work: Work) -> None:
        """Wait until this process leads, then work. Returns when the lead is lost; then call it again.

        The work is cancelled in time, and the lead is given up only when nothing of it goes on any more.
        """
        ...


class Lease(Protocol):
    """One Lease at the API server. Raises what the port ``Cluster`` raises."""

    async def read(self) -> LeaseRecord | None:
        """As it is now; ``None``: there is none."""
        ...

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Create it, or replace exactly the version that the record names; else ``Conflict`` or ``Missing``."""
        ...


class Sole:
    """The only process there is: it leads from the start, and asks nobody."""

    async def lead(self, work: Work) -> None:
        """Work."""
        metrics.began_to_lead()
        try:
            await work(lambda: None)
        finally:
            metrics.ceased_to_lead()


class Elected:
    """Leads while it holds the Lease."""

    def __init__(
        self,
        lease: Lease,
        name: str,
        terms: Terms,
        tell: Tell,
        *,
        clock: Callable[[], float] | None = None,
        calendar: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self._lease = lease
        self._terms = terms
        self._tell = tell
        self._clock = clock or steady_clock
        self._calendar = calendar
        self._sleep = sleep
        self._random = random or SystemRandom()
        self._election = Election(name, terms)
        self._told = ""

    @property
    def may_write(self) -> bool:
        """Whether this process leads at this very moment."""
        return self._election.writing_left(self._clock()) > 0

    @property
    def holder(self) -> str:
        """Who has the Lease, as last seen."""
        return self._election.holder

    async def lead(self, work: Work) -> None:
        """Wait for the Lease, then work until it cannot be kept."""
        await self._acquire()
        term, self._told = self._election.term, ""
        log.info("this operator leads")
        metrics.began_to_lead()
        try:
            await self._work_and_keep(work, term)
        finally:
            # The fence closes first: whatever should still go on has no effects any more.
            resignation = self._election.resign(self._calendar())
            metrics.ceased_to_lead()
            await self._give_up(resignation)

    async def _work_and_keep(self, work: Work, term: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep(term), name="lease")
            working = tasks.create_task(_work(work, self._fence(term)), name="term")
            try:
                await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # Kept meanwhile: who leads next finds everything done or not done, and nothing under way.
                working.cancel()
                await asyncio.wait({working})
                keeping.cancel()

    def _fence(self, term: int) -> Fence:
        def check() -> None:
            if self._election.term != term or not self.may_write:
                raise Transient("this operator does not lead any more: whichever does will do it")

        return check

    async def _acquire(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._terms.writing_seconds):
                    if await self._ask(look=True):
                        return
                self._say(True, f"standby: {self.holder or 'nobody'} leads")
            except Conflict:
                continue  # another one was faster
            except (AgentpoolError, TimeoutError) as error:
                self._say(False, f"the Lease cannot be read or taken: {_sentence(error)}")
            # Not all at the same moment; and at once when it runs out.
            pause = self._terms.poll_seconds * self._random.uniform(0.8, 1.0)
            left = self._election.open_in(self._clock())
            await self._sleep(min(pause, left) if left > 0 else pause)

    async def _keep(self, term: int) -> None:
        """Renew the Lease for as long as that works; returns when this process may write no more in this term."""
        look, pause = False, self._terms.renew_seconds
        while (left := self._election.writing_left(self._clock())) > 0:
            await self._sleep(min(pause, left))
            left = self._election.writing_left(self._clock())
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left * PATIENCE):
                    # After it was stopped for long, it may have got the Lease anew: that is another term.
                    if not await self._ask(look=look) or self._election.term != term:
                        break
                look, pause = False, self._terms.renew_seconds
            except (AgentpoolError, TimeoutError) as error:
                # It may have been renewed although the answer is lost: then its version is another.
                look, pause = True, 0.0 if isinstance(error, Conflict | Missing) else RETRY_SECONDS
                log.warning("the Lease could not be renewed, trying again: %s", _sentence(error))
        if self._election.has_lease:
            log.warning("this operator leads no more: the Lease could not be renewed in time")
        else:
            log.warning("this operator leads no more: %s has the Lease", self.holder or "nobody")

    async def _ask(self, *, look: bool) -> bool:
        """Ask for the Lease, or for its renewal. False: it is another one's."""
        if look:
            self._election.saw(await self._lease.read(), self._clock())
        asked_at = self._clock()
        bid = self._election.bid(self._calendar(), asked_at)
        if bid is None:
            return False
        record = await self._lease.write(bid)
        self._election.granted(record, asked_at, self._clock())
        return self.may_write

    async def _give_up(self, resignation: LeaseRecord | None) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while resignation is not None:
                    try:
                        self._election.saw(await self._lease.write(resignation), self._clock())
                        log.info("the Lease is given up: another operator can lead at once")
                        return
                    except Conflict:
                        # A renewal that was broken off on its way may have been done: then its version is another.
                        self._election.saw(await self._lease.read(), self._clock())
                        resignation = self._election.resign(self._calendar())
        except (AgentpoolError, TimeoutError) as error:
            log.info("the Lease could not be given up and runs out by itself: %s", _sentence(error))

    def _say(self, well: bool, sentence: str) -> None:
        if sentence != self._told:
            log.log(logging.INFO if well else logging.WARNING, "%s", sentence)
        self._told = sentence
        self._tell(well, sentence)


class KubeLease:
    """A Lease over the client of the API server."""

    def __init__(self, cluster: KubeCluster, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._meta: Mapping[str, Any] = {}

    async def read(self) -> LeaseRecord | None:
        """As it is now."""
        try:
            return self._learn(await self._cluster.read_lease(self._namespace, self._name))
        except Missing:
            return None

    async def write(self, record: LeaseRecord) -> LeaseRecord:
        """Create or replace it. What others have put into its metadata stays."""
        meta: dict[str, Any] = {"labels": {"app.kubernetes.io/managed-by": "agentpool"}}
        if record.version:
            meta = {**self._meta, "resourceVersion": record.version}
        body: dict[str, Any] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**meta, "name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": record.holder or None,
                "leaseDurationSeconds": record.duration_seconds,
                "acquireTime": _stamp(record.acquired_at),
                "renewTime": _stamp(record.renewed_at),
                "leaseTransitions": record.transitions,
            },
        }
        if record.version:
            return self._learn(await self._cluster.replace_lease(self._namespace, self._name, body))
        return self._learn(await self._cluster.create_lease(self._namespace, body))

    def _learn(self, raw: Mapping[str, Any]) -> LeaseRecord:
        record = lease_in(raw)
        self._meta = raw["metadata"]
        return record


def steady_clock() -> float:
    """Seconds on a clock that nobody sets, and that counts on while the machine sleeps, where the system has one."""
    boot: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def own_name() -> str:
    """A name that no other process has, nor this one after its next start, and by which a person finds it."""
    return f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"


async def _work(work: Work, fence: Fence) -> None:
    await work(fence)


def _sentence(error: Exception) -> str:
    return str(error) or "the API server did not answer in time"


def _stamp(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment is not None else None
