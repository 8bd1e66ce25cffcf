"""What the API server does on a bad day, as a proxy in front of it can show."""

import random
from collections.abc import Callable

from tests.faults.apiproxy import ApiProxy
from tests.faults.asked import Asked
from tests.faults.effects import delay, expire, gone, hold, lose, refuse, tear, truncate
from tests.faults.fault import API_SERVER, Fault
from tests.faults.rules import Effect, Matches, Rule, requests, step, watches, writes
from tests.faults.stage import Plan, Stage
from tests.faults.story import GIVES_ONE_BACK

Strike = tuple[Matches, Effect, int | None]
"""Which requests, what happens to them, and to how many: to all if ``None``."""


def _watch_of(resource: str) -> Matches:
    return lambda asked: watches(asked) and asked.resource == resource


_KINDS = ("agentpools", "agentinstances", "agentclaims")


class OfRequests(Fault):
    """Some requests are not answered as they should be, until it is healed."""

    peer = API_SERVER

    def __init__(self, name: str, sentence: str, *strikes: Strike, lasts: float = 2.0, again: bool = False) -> None:
        self.name, self.sentence, self.lasts = name, sentence, lasts
        self._strikes, self._watches_begin_again = strikes, again
        self._made: list[Rule] = []

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._made = [proxy.add(Rule(*strike)) for proxy in stage.proxies for strike in self._strikes]
        if self._watches_begin_again:
            for proxy in stage.proxies:
                stage.loop.call(proxy.cut_watches)

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage)

    def struck(self, stage: Stage) -> bool:
        return any(rule.struck for rule in self._made)


class OfEverything(OfRequests):
    """It strikes the Lease as well."""

    leaderless = True


class DeletedMeanwhile(OfRequests):
    """A claim is deleted between the end of a watch and the list that follows, so that no watch ever tells of it."""

    at = GIVES_ONE_BACK
    lasts = 1.0

    def __init__(self, name: str, sentence: str, expired: Effect) -> None:
        away = refuse(503, "ServiceUnavailable", "the server is starting")
        super().__init__(
            name,
            sentence,
            *((_watch_of(kind), away, 2) for kind in _KINDS),
            *((_watch_of(kind), expired, 1) for kind in _KINDS),
            again=True,
        )

    def lingers(self, stage: Stage) -> bool:
        return not all(rule.struck for rule in self._made)


class SilentWatches(Fault):
    """All watches that are open say nothing more."""

    peer = API_SERVER

    def __init__(self, name: str, sentence: str, lasts: float, *, for_good: bool = False) -> None:
        self.name, self.sentence, self.lasts = name, sentence, lasts
        self._for_good = for_good
        # That is how it is noticed.
        self.excused = ("was repaired",) if for_good else ()

    def prepare(self, plan: Plan) -> None:
        plan.env["AGENTPOOL_RELIST_SECONDS"] = "10"

    def strike(self, stage: Stage, dice: random.Random) -> None:
        self._on_all(stage, ApiProxy.mute)

    def heal(self, stage: Stage) -> None:
        if not self._for_good:
            self._on_all(stage, ApiProxy.unmute)

    @staticmethod
    def _on_all(stage: Stage, do: Callable[[ApiProxy], None]) -> None:
        for proxy in stage.proxies:
            stage.loop.call(lambda proxy=proxy: do(proxy))  # type: ignore[misc]


def _of_our_kinds(asked: Asked) -> bool:
    return asked.resource in _KINDS


def _of_objects(asked: Asked) -> bool:
    """Every request but those for the Lease, which is asked for all the time."""
    return requests(asked) and asked.resource != "leases"


REFUSALS: tuple[Fault, ...] = (
    OfRequests(
        "a storm of 409",
        "every change but of the Lease is refused with 409 Conflict for 2 s",
        (writes, refuse(409, "Conflict", "the object has been modified"), None),
    ),
    OfRequests(
        "429 for everybody",
        "every request is refused with 429 and Retry-After: 1 for 2 s",
        (_of_objects, refuse(429, "TooManyRequests", "too many requests", retry_after=1), None),
    ),
    OfEverything(
        "a burst of 5xx",
        "changes are refused with 500, other requests with 503, for 2 s",
        (writes, refuse(500, "InternalError", "etcdserver: request timed out"), None),
        (requests, refuse(503, "ServiceUnavailable", "the server is shutting down"), None),
    ),
    OfRequests(
        "our kinds unknown",
        "as after its start, the server knows none of our kinds for 2 s, and answers 404 whatever is asked of them",
        (_of_our_kinds, refuse(404, "NotFound", "the server could not find the requested resource"), None),
        again=True,
    ),
)
ANSWERS: tuple[Fault, ...] = (
    OfRequests(
        "slow answers",
        "every answer takes 0.8 s longer, for 4 s",
        (_of_objects, delay(0.8, answered=True), None),
        lasts=4.0,
    ),
    OfRequests(
        "slow requests",
        "every request arrives 0.8 s late, for 4 s, so that they overtake each other",
        (writes, delay(0.8), 5),
        (_of_objects, delay(0.3), None),
        lasts=4.0,
    ),
    OfRequests(
        "no answer to a bind",
        "the bind is carried out, and never answered",
        (step("bind"), hold(20.0, carried_out=True), 1),
        lasts=0.5,
    ),
    OfRequests(
        "a claim's status is never answered",
        "the write of a claim's status does not arrive, and is never answered",
        (step("claim becomes Bound"), hold(20.0, carried_out=False), 1),
        lasts=0.5,
    ),
    OfRequests(
        "lost answers",
        "changes are carried out, and their answers are lost with the connection, for 2 s",
        (writes, lose(), None),
    ),
    OfRequests(
        "truncated answers",
        "answers end in the middle, for 2 s",
        (_of_objects, truncate(), None),
    ),
)
WATCHES: tuple[Fault, ...] = (
    OfRequests(
        "410 in a watch",
        "every watch breaks, and the next one says that its version is too old",
        *((_watch_of(kind), expire(), 1) for kind in _KINDS),
        again=True,
    ),
    OfRequests(
        "410 to a watch",
        "every watch breaks, and the next one is refused with 410 Gone",
        *((_watch_of(kind), gone(), 1) for kind in _KINDS),
        again=True,
    ),
    OfRequests(
        "torn watches",
        "watches break again and again in the middle of an event, for 3 s",
        (watches, tear(700), None),
        lasts=3.0,
        again=True,
    ),
    DeletedMeanwhile(
        "deleted before a 410 in a watch", "a claim is deleted while no watch is open, and then 410 is told", expire()
    ),
    DeletedMeanwhile("deleted before a 410 to a watch", "the same, and the 410 is the status of the answer", gone()),
    SilentWatches("silent watches", "no watch says anything for 3 s, and then all that it held back", 3.0),
    SilentWatches("dead watches", "open watches never say anything again", 0.5, for_good=True),
)
API_FAULTS = (*REFUSALS, *ANSWERS, *WATCHES)
