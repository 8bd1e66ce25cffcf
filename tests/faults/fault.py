"""What a fault is."""

import random
from abc import ABC, abstractmethod

from tests.faults.servers import ApiServer
from tests.faults.stage import Plan, Stage

API_SERVER = "API server"
OPERATOR = "operator"
POSTGRES = "Postgres"
RUNTIME = "runtime"
HOST = "host"
ENGINE = "Docker engine"


class Fault(ABC):
    """One kind of trouble. An instance strikes one run after the other: it keeps nothing but its last rules."""

    name: str
    sentence: str
    """What happens, for the table."""
    peer: str
    """At whom: one of the words above."""
    lasts: float = 1.5
    """Seconds from ``strike`` to ``heal``."""
    at: int | None = None
    """Before which step of the story it strikes; ``None``: the dice decide."""
    quick: bool = False
    """Whether ``make test`` has a run of it, too."""
    leaderless: bool = False
    """Whether there is a moment at which no operator leads, so that a deletion may be seen by none."""
    excused: tuple[str, ...] = ()
    """What operators may say because of it that would be a mistake otherwise (``MISTAKES``)."""

    def lacks(self, server: ApiServer) -> str | None:
        """Why it cannot strike here; ``None``: it can."""
        return None

    def prepare(self, plan: Plan) -> None:  # noqa: B027 - most have nothing to change
        """Change what the stage is made of."""

    @abstractmethod
    def strike(self, stage: Stage, dice: random.Random) -> None:
        """Begin, and return at once."""

    def heal(self, stage: Stage) -> None:
        """End it."""
        for proxy in stage.proxies:
            proxy.rules.clear()

    def lingers(self, stage: Stage) -> bool:
        """Whether it has to go on, although its time is over: it waits for something to strike."""
        return False

    def struck(self, stage: Stage) -> bool:
        """Whether it happened at all."""
        return True
