"""Bookkeeping: hands what happens to instances and claims over to the ledger, and tells passes what it has of them."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from controller.core.account import Account, Books, Ending, LedgerHealth
from controller.core.transitions import Subject, derive
from controller.model import AgentClaim, AgentInstance, Resource
from controller.ports import Ledger
from controller.reconcile.view import View

LOOK_SECONDS = 1.0
"""How often the ledger is looked at for what pools say of it."""


class Bookkeeper:
    """Listens to a view for one term. What it hands over twice, the ledger knows by its key."""

    def __init__(
        self,
        view: View,
        ledger: Ledger | None,
        clock: Callable[[], datetime],
        tell_settled: Callable[[Subject], None],
        tell_health: Callable[[], None],
    ) -> None:
        self._view = view
        self._ledger = ledger
        self._clock = clock
        self._tell_settled = tell_settled
        self._tell_health = tell_health
        self._concluded: dict[str, datetime] = {}
        """When the end of an object was handed over, by uid; while the object is still there."""
        self._ill_since: datetime | None = None
        self._barred = False
        self._begun = False
        self.health = LedgerHealth() if ledger is not None else None
        """How the ledger is, as pools say it; ``None`` where there is none."""

    def begin(self) -> None:
        """All that has happened to what there is, as far as it tells; from then on, what the view learns.

        Nothing when it was called before.
        """
        if self._ledger is None or self._begun:
            return
        self._begun = True
        for thing in tuple(self._view.everything()):
            self._changed(None, thing)
        self._view.subscribe(self._changed)
        self._ledger.listen(self)

    async def run(self) -> None:
        """Keep ``health`` up to date, until cancelled; ends at once where there is no ledger."""
        while self._ledger is not None:
            self._look(self._ledger)
            await asyncio.sleep(LOOK_SECONDS)

    # What passes ask.

    @property
    def barrier(self) -> str | None:
        """Why no claim may be given an instance now, in a sentence."""
        return self._ledger.barrier if self._ledger is not None else None

    def account(self, thing: Subject, *, holder: AgentInstance | None = None) -> Account:
        """What the ledger has of an object; of a claim, together with the instance that was given to it."""
        if self._ledger is None:
            return Account()
        uid, told_at, trouble = thing.metadata.uid, self._concluded.get(thing.metadata.uid), self._ledger.health or ""
        ending, unrecorded = Ending.UNTOLD, None
        if told_at is not None:
            ending = Ending.SAFE if self._ledger.safe(uid) else Ending.TOLD
        if self._ledger.strict:
            uids = (uid,) if holder is None else (uid, holder.metadata.uid)
            if not all(map(self._ledger.safe, uids)):
                unrecorded = "waiting until the ledger has it on record" + (f": {trouble}" if trouble else "")
        return Account(True, ending, told_at, trouble, unrecorded)

    def conclude(self, thing: Subject) -> None:
        """Hand over all of its story, with its end: what it is by now is the last that it will be."""
        if self._ledger is not None:
            self._concluded.setdefault(thing.metadata.uid, self._clock())
            self._ledger.record((*derive(None, thing), *derive(thing, None)))

    # What the ledger tells.

    def settled(self, uid: str) -> None:
        """A pass may be waiting for that."""
        thing = self._thing(uid)
        if thing is not None and (thing.metadata.deleting or (self._ledger is not None and self._ledger.strict)):
            self._tell_settled(thing)

    def missed(self, uid: str) -> None:
        """There was no room, and now there is: what is still there tells what happened to it."""
        thing = self._thing(uid)
        if thing is not None and uid in self._concluded:
            self.conclude(thing)
        elif thing is not None:
            self._changed(None, thing)

    def _thing(self, uid: str) -> Subject | None:
        return self._view.instance_by_uid.get(uid) or self._view.claim_by_uid(uid)

    def _changed(self, before: Resource | None, after: Resource | None) -> None:
        earlier = before if isinstance(before, AgentInstance | AgentClaim) else None
        later = after if isinstance(after, AgentInstance | AgentClaim) else None
        if self._ledger is not None and (earlier is not None or later is not None):
            self._ledger.record(derive(earlier, later))
        if later is None and earlier is not None:
            self._concluded.pop(earlier.metadata.uid, None)

    def _look(self, ledger: Ledger) -> None:
        now, backlog, trouble = self._clock(), ledger.backlog, ledger.health
        self._ill_since = (self._ill_since or now) if trouble is not None else None
        books = Books(backlog.records, backlog.since, self._ill_since, trouble, ledger.strict)
        health, barred = books.health(now), ledger.barrier is not None
        if health != self.health or barred != self._barred:
            self.health, self._barred = health, barred
            self._tell_health()
