"""What goes wrong: each fault strikes by a rate of its own, seeded, or at the next occasion when a test wants it so."""

import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """One thing that can go wrong."""

    LOST_REQUEST = "lost_request"
    """The connection is closed, and nothing was done."""
    LOST_ANSWER = "lost_answer"
    """Everything was done, and the connection is closed without a byte."""
    ERROR_BEFORE = "error_before"
    """HTTP 200 with ``Problem processing request``, no path and no code; nothing was done."""
    ERROR_AFTER = "error_after"
    """HTTP 200 with an error, although everything was done."""
    THROTTLE = "throttle"
    """HTTP 200 with "creating services too quickly"; nothing was done. Strikes only what creates."""
    TRUNCATED = "truncated"
    """Everything was done, and half of the JSON comes."""
    BAD_GATEWAY = "bad_gateway"
    """HTTP 502 with HTML; nothing was done."""
    GATEWAY_TIMEOUT = "gateway_timeout"
    """HTTP 504 with HTML, although everything was done."""
    SLOW = "slow"
    """The answer takes its time."""
    TOO_MANY = "too_many"
    """HTTP 429 with ``Retry-After`` below the limit."""
    EDGE_LIMIT = "edge_limit"
    """HTTP 429 whose body is ``error code: 1015``, although the request says where it comes from."""
    INVISIBLE = "invisible"
    """A new service is in no list for a while, and mutations do not find it."""
    STALE = "stale"
    """A deleted service is in lists for a while."""
    DEPLOYMENT_UNSEEN = "deployment_unseen"
    """A new deployment is not told for a while: the latest one is still the one before, or none."""
    DOMAIN_REFUSED = "domain_refused"
    """``Failed to create service domain, please try again``."""
    DOMAIN_DOWN = "domain_down"
    """The edge answers 502 for a program that is well."""
    LOST_EVENT = "lost_event"
    """A webhook is not called."""


@dataclass
class Rule:
    """How a fault strikes."""

    rate: float = 0.0
    only: frozenset[str] = frozenset()
    """Names of operations or of their fields, or "query" or "mutation"; empty: all."""

    def concerns(self, names: Collection[str]) -> bool:
        """Whether something with these names can be struck."""
        return not self.only or not self.only.isdisjoint(names)


class Faults:
    """Decides about every occasion; the same seed and the same occasions give the same faults."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        """How often each struck."""
        self._rules = {fault: Rule() for fault in Fault}
        self._next: list[tuple[Fault, Rule]] = []
        # One stream each: whether one fault strikes does not depend on which others there are.
        self._dice = {fault: random.Random(f"{seed}:{fault}") for fault in Fault}

    def set(self, fault: Fault | str, rate: float, only: Iterable[str] = ()) -> None:
        """Let it strike at random from now on."""
        self._rules[Fault(fault)] = Rule(rate, frozenset(only))

    def set_all(self, rates: Mapping[str, float]) -> None:
        """Several at once."""
        for fault, rate in rates.items():
            self.set(fault, rate)

    def once(self, fault: Fault | str, only: Iterable[str] = (), times: int = 1) -> None:
        """Let it strike at the next occasions, for sure."""
        self._next += [(Fault(fault), Rule(1.0, frozenset(only)))] * times

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._rules = {fault: Rule() for fault in Fault}
        self._next = []

    def strikes(self, fault: Fault, *names: str) -> bool:
        """Whether it strikes now what has these names."""
        for position, (planned, rule) in enumerate(self._next):
            if planned is fault and rule.concerns(names):
                del self._next[position]
                break
        else:
            rule = self._rules[fault]
            if not rule.rate or not rule.concerns(names) or self._dice[fault].random() >= rule.rate:
                return False
        self.counts[fault] += 1
        return True

    def draw(self, fault: Fault, span: tuple[float, float]) -> float:
        """A duration of what struck."""
        return self._dice[fault].uniform(*span)

    def describe(self) -> dict[str, Any]:
        """Rates, what is still to come, and counts, as JSON."""
        return {
            "rates": {fault: {"rate": rule.rate, "only": sorted(rule.only)} for fault, rule in self._rules.items()},
            "next": [{"fault": fault, "only": sorted(rule.only)} for fault, rule in self._next],
            "counts": dict(self.counts),
        }
