"""Bookkeeping: hands what happens to instances and claims over to the ledger, as the view learns it."""

from controller.core.transitions import derive
from controller.model import AgentClaim, AgentInstance, Resource
from controller.ports import Ledger
from controller.reconcile.view import View


class Bookkeeper:
    """Listens to a view for one term. What it hands over twice, the ledger knows by its key."""

    def __init__(self, view: View, ledger: Ledger) -> None:
        self._view = view
        self._ledger = ledger

    def begin(self) -> None:
        """All that has happened to what there is, as far as it tells; from then on, what the view learns."""
        for thing in tuple(self._view.everything()):
            self._changed(None, thing)
        self._view.subscribe(self._changed)
        self._ledger.listen(self)

    def settled(self, uid: str) -> None:
        """Nobody waits for it."""

    def missed(self, uid: str) -> None:
        """There was no room, and now there is: what is still there tells what happened to it."""
        thing = self._view.instance_by_uid.get(uid) or self._view.claim_by_uid(uid)
        if thing is not None:
            self._changed(None, thing)

    def _changed(self, before: Resource | None, after: Resource | None) -> None:
        earlier = before if isinstance(before, AgentInstance | AgentClaim) else None
        later = after if isinstance(after, AgentInstance | AgentClaim) else None
        if earlier is not None or later is not None:
            self._ledger.record(derive(earlier, later))
