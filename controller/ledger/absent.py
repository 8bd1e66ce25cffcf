"""No ledger: what stands in for one where no database is named."""

import asyncio
from collections.abc import Sequence

from controller.core.transitions import Record
from controller.ports import Backlog, LedgerListener


class NoLedger:
    """Keeps nothing; whatever is handed over counts as safe."""

    backlog = Backlog()
    health: str | None = None
    barrier: str | None = None
    strict = False

    def record(self, records: Sequence[Record]) -> None:
        """Nothing is kept."""

    def safe(self, uid: str) -> bool:
        """Nothing is waited for."""
        return True

    async def settled(self, uid: str) -> None:
        """At once."""

    def listen(self, listener: LedgerListener) -> None:
        """There is never anything to tell."""

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """There is nothing to let go of."""
