"""The orphans pass: ends remotes at a place that no AgentInstance owns, after a grace period."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime

from controller.core import orphans as core
from controller.reconcile.connections import Connections
from controller.reconcile.keys import Key
from controller.reconcile.operations import Operations
from controller.reconcile.view import View


class OrphansPass:
    """Compares what a place has with what the view knows."""

    def __init__(
        self,
        view: View,
        connections: Connections,
        operations: Operations,
        clock: Callable[[], datetime],
        grace_seconds: float,
    ) -> None:
        self._view = view
        self._connections = connections
        self._operations = operations
        self._clock = clock
        self._grace_seconds = grace_seconds
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
        plan = core.decide(
            key.name, remotes.uids(), owned, self._suspected[key.name], self._grace_seconds, self._clock()
        )
        self._suspected[key.name] = plan.suspected_since
        again = plan.look_again_in
        for action in plan.ends:
            if not await self._operations.end_orphan(action):
                again = 1.0
        return again
