"""The orphans pass: ends remotes at a place that no AgentInstance owns, after a grace period."""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime

from controller.core import orphans as core
from controller.reconcile.connections import Connections
from controller.reconcile.keys import Key
from controller.reconcile.operations import Operations
from controller.reconcile.remotes import Remotes
from controller.reconcile.view import View

log = logging.getLogger(__name__)

UNRECOGNISED_SECONDS = 60.0
"""How soon it is asked again whether the API server knows this installation."""


class OrphansPass:
    """Compares what a place has with what the view knows."""

    def __init__(
        self,
        view: View,
        connections: Connections,
        operations: Operations,
        clock: Callable[[], datetime],
        grace_seconds: float,
        serves: Callable[[str], bool],
        recognised: Callable[[], Awaitable[bool]] | None,
    ) -> None:
        self._view = view
        self._connections = connections
        self._operations = operations
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._serves = serves
        self._recognised = recognised
        self._strangers: dict[str, int] = {}
        self._suspected: defaultdict[str, Mapping[str, datetime]] = defaultdict(dict)

    async def run(self, key: Key) -> float | None:
        """One pass over one place; answers in how many seconds to look again."""
        remotes = self._connections.named(key.name)
        if remotes is None:
            self._suspected.pop(key.name, None)
            return None
        if not remotes.listed or not remotes.readable:
            return None
        owned = self._view.instance_by_uid.keys()
        visible = self._visible(remotes)
        plan = core.decide(key.name, visible, owned, self._suspected[key.name], self._grace_seconds, self._clock())
        self._suspected[key.name] = plan.suspected_since
        again = plan.look_again_in
        if plan.ends and self._recognised is not None and not await self._recognised():
            log.error(
                "place %s has %d instances that seem to be nobody's, but the API server does not know this "
                "installation: they are left alone; restore its objects from a backup and start the operator again",
                *(key.name, len(plan.ends)),
            )
            return UNRECOGNISED_SECONDS
        for action in plan.ends:
            if not await self._operations.end_orphan(action):
                again = 1.0
        return again

    def _visible(self, remotes: Remotes) -> Collection[str]:
        """Those whose owners this operator would see. In a namespace that it does not serve (any more) they may well
        be: then another operator serves it, or this one did, and will."""
        found = {uid: remote.namespace for uid in remotes.uids() if (remote := remotes.get(uid)) is not None}
        visible = [uid for uid, namespace in found.items() if not namespace or self._serves(namespace)]
        strangers = len(found) - len(visible)
        if strangers != self._strangers.get(remotes.name, 0):
            self._strangers[remotes.name] = strangers
            log.warning(
                "place %s has %d instances in namespaces that this operator does not serve: they are left alone",
                *(remotes.name, strangers),
            )
        return visible
