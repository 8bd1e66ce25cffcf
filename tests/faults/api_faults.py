"""What the API server does on a bad day, as a proxy in front of it can show."""

import random

from tests.faults import effects
from tests.faults.fault import API_SERVER, Fault
from tests.faults.rules import Effect, Matches, Rule, requests, writes
from tests.faults.stage import Stage


class _OfRequests(Fault):
    """Rules that are in force for a while, the same for every operator."""

    peer = API_SERVER

    def __init__(
        self, name: str, sentence: str, *rules: tuple[Matches, Effect, int | None], quick: bool = False
    ) -> None:
        self.name, self.sentence, self.quick = name, sentence, quick
        self._rules = rules
        self._made: list[Rule] = []

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._made = [
            proxy.add(Rule(matches, effect, times)) for proxy in stage.proxies for matches, effect, times in self._rules
        ]

    def struck(self, stage: Stage) -> bool:
        return any(rule.struck for rule in self._made)


def api_faults() -> tuple[Fault, ...]:
    """All of them."""
    return (
        _OfRequests(
            "a storm of 409",
            "every change but of the Lease is refused with 409 Conflict",
            (writes, effects.refuse(409, "Conflict", "the object has been modified"), None),
            quick=True,
        ),
        _OfRequests(
            "answers of 429",
            "every request is refused with 429 and a Retry-After",
            (requests, effects.refuse(429, "TooManyRequests", "too many requests", retry_after=1), None),
        ),
    )
