"""Where the demo keeps its ledger: the database of DATABASE_URL, or a Postgres of its own that goes with it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from controller.demo.postgres import LackingError, PrivatePostgres
from controller.errors import AgentpoolError


class Records:
    """The ledger of one demo."""

    def __init__(self) -> None:
        self._postgres: PrivatePostgres | None = None
        self._url = os.environ.get("DATABASE_URL", "")

    def prepare(self) -> str:
        """Have a database; answers a sentence on it."""
        if self._url:
            return "the ledger is in the database of DATABASE_URL, and stays there"
        # A socket's path must be short, and the demo's folder may be long.
        self._postgres = PrivatePostgres.somewhere()
        try:
            self._postgres.start()
        except LackingError as error:
            self.clear()
            return f"without a ledger: {error}"
        self._url = self._postgres.url()
        return f"the ledger is in a Postgres {self._postgres.version} of the demo's own, from {self._postgres.origin}"

    def env(self) -> Mapping[str, str]:
        """What the operator needs in its environment."""
        if not self._url:
            return {}
        return {"AGENTPOOL_DATABASE_URL": self._url, "AGENTPOOL_LEDGER_MIGRATE_AT_START": "true"}

    def told(self, claim: str) -> str | None:
        """What the ledger has of a claim, as a person asks it; ``None`` without a ledger."""
        if not self._url:
            return None
        program = Path(sys.executable).with_name("agentpool")
        done = subprocess.run(
            [str(program), "ledger", "history", claim],
            env={**os.environ, **self.env()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise AgentpoolError(f"agentpool ledger history {claim} failed: {done.stderr.strip()}")
        return done.stdout

    def clear(self) -> None:
        """End what was started for it, and remove it."""
        if self._postgres is not None:
            self._postgres.remove()
            self._postgres = None
