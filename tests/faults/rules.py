"""Rules of the proxy in front of the API server: which requests are struck, what happens to them, and how often."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from tests.faults.asked import Asked


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server answered to one request."""

    status: int
    headers: dict[str, str]
    content: bytes


class Exchange(Protocol):
    """One request under way, and what can be done with it."""

    @property
    def asked(self) -> Asked:
        """What it asks for."""
        ...

    async def forward(self) -> Answer:
        """Have it carried out, and read the whole answer; not for watches."""
        ...

    async def pass_on(self, limit: int | None = None) -> web.StreamResponse:
        """Have it carried out and answered as if nothing stood in between.

        A watch breaks after so many bytes.
        """
        ...

    def drop(self) -> web.StreamResponse:
        """Break the connection without an answer."""
        ...

    async def begin(self, status: int, headers: dict[str, str]) -> web.StreamResponse:
        """Begin an answer of one's own."""
        ...


Effect = Callable[[Exchange], Awaitable[web.StreamResponse]]
"""What happens to a request that a rule strikes."""
Matches = Callable[[Asked], bool]


@dataclass(eq=False)
class Rule:
    """The first rule that matches a request and is not used up decides what becomes of it."""

    matches: Matches
    effect: Effect
    times: int | None = 1
    """How many requests it strikes; ``None``: all, until it is removed."""
    after: int = 0
    """How many that match are let through first."""
    seen: int = 0
    struck: int = 0

    def takes(self, asked: Asked) -> bool:
        """Whether this request is struck; counts it."""
        if (self.times is not None and self.struck >= self.times) or not self.matches(asked):
            return False
        self.seen += 1
        if self.seen <= self.after:
            return False
        self.struck += 1
        return True


def writes(asked: Asked) -> bool:
    """Every change but of Leases."""
    return asked.is_news


def requests(asked: Asked) -> bool:
    """Everything but watches."""
    return asked.verb != "watch"


def watches(asked: Asked) -> bool:
    return asked.verb == "watch"


def step(name: str) -> Matches:
    """The requests that are that step (``Asked.step``)."""
    return lambda asked: asked.step == name
