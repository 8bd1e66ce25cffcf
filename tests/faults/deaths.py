"""The operator itself is killed or frozen, right before or right after any single request of a life."""

import random
import signal
import time

from tests.faults.effects import afterwards, first, late, then
from tests.faults.fault import OPERATOR, Fault
from tests.faults.rules import Rule, step
from tests.faults.stage import Plan, Stage

STEPS = (
    "create instance",
    "create secret",
    "instance becomes Starting",
    "instance becomes Idle",
    "status of pool",
    "claim becomes Pending",
    "bind",
    "hold claim",
    "claim becomes PendingAcceptance",
    "claim becomes Bound",
    "instance becomes Claimed",
    "patch secret",
    "create event",
    "instance becomes Crashed",
    "status of claim",
    "claim becomes Expired",
    "delete instance",
    "instance becomes Terminating",
    "let instance go",
    "let claim go",
)
"""Everything that an operator writes in a story, in the order of a life."""
ONCE = frozenset(
    {
        "claim becomes PendingAcceptance",
        "claim becomes Expired",
        "instance becomes Crashed",
        "status of claim",
        "claim becomes Pending",
        "let claim go",
    }
)
"""What a story may hold but once."""
PAST_THE_LEASE = 6.0
"""Seconds, well more than the Lease lasts on a stage."""
AT_TIMES = frozenset({"claim becomes Binding", "patch instance", "status of instance"})
"""What it writes only when things happen in an order that nobody can force."""


class Undisturbed(Fault):
    """Nothing happens, which shows that the story is what the faults take it for."""

    name = "none"
    sentence = "nothing goes wrong"
    peer = "none"
    at = 0

    def strike(self, stage: Stage, dice: random.Random) -> None:
        return

    def struck(self, stage: Stage) -> bool:
        """Whether every step that was taken is one at which the operator is killed."""
        taken = {seen.asked.step for proxy in stage.proxies for seen in proxy.audit if seen.asked.is_news}
        first_start = {"create configmap"}
        unknown = taken - set(STEPS) - AT_TIMES - first_start
        assert not unknown, f"nobody kills the operator at {unknown}: name it in tests/faults/deaths.py"
        return set(STEPS) <= taken


class Killed(Fault):
    """kill -9 at steps, one after the other; it is started again at once."""

    peer = OPERATOR
    leaderless = True
    at = 0

    def __init__(self, name: str, sentence: str, *when: tuple[str, str], quick: bool = False) -> None:
        self.name, self.sentence, self.quick = name, sentence, quick
        self._when = when
        self._made: list[Rule] = []

    def strike(self, stage: Stage, dice: random.Random) -> None:
        def kill(who: str) -> None:
            stage.operator(who).signal(signal.SIGKILL)

        self._made = [
            Rule(step(what), first(kill) if when == "before" else then(kill), after=self._passed(what, dice))
            for when, what in self._when
        ]
        for proxy in stage.proxies:
            proxy.rules.extend(self._made)

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage)

    def struck(self, stage: Stage) -> bool:
        return all(rule.struck for rule in self._made)

    def _passed(self, what: str, dice: random.Random) -> int:
        """How many requests of the kind pass first."""
        return dice.randrange(2) if len(self._when) == 1 and what not in ONCE else 0


class KilledMeanwhile(Killed):
    """kill -9 a moment after an answer, in the middle of what the operator does outside of the API server."""

    def __init__(self, name: str, sentence: str, what: str, moments: tuple[float, float], **switches: str) -> None:
        super().__init__(name, sentence)
        self._what, self._moments, self._switches = what, moments, switches

    def prepare(self, plan: Plan) -> None:
        env = [{"name": name, "value": value} for name, value in self._switches.items()]
        plan.pool["template"] = {"env": env} if env else {}

    def strike(self, stage: Stage, dice: random.Random) -> None:
        def kill(who: str) -> None:
            stage.operator(who).signal(signal.SIGKILL)

        rule = Rule(step(self._what), afterwards(kill, dice.uniform(*self._moments)), after=dice.randrange(2))
        self._made = [proxy.add(rule) for proxy in stage.proxies]


class Frozen(Fault):
    """SIGSTOP past the Lease when a request was sent, which arrives at once or long after its time; then SIGCONT."""

    peer = OPERATOR
    leaderless = True
    at = 0
    lasts = 0.2

    def __init__(self, name: str, sentence: str, operators: int, seconds: float, *, quick: bool = False) -> None:
        self.name, self.sentence, self.quick = name, sentence, quick
        self._operators, self._late = operators, seconds
        self._made: list[Rule] = []
        self._over = 0.0

    def prepare(self, plan: Plan) -> None:
        plan.operators = self._operators

    def strike(self, stage: Stage, dice: random.Random) -> None:
        def freeze(who: str) -> None:
            self._over = time.monotonic() + PAST_THE_LEASE
            stage.operator(who).signal(signal.SIGSTOP)

        what = dice.choice(["create instance", "bind", "claim becomes Bound", "let instance go"])
        # One rule for all: whoever leads next is not frozen.
        rule = Rule(step(what), late(freeze, self._late))
        self._made = [proxy.add(rule) for proxy in stage.proxies]

    def lingers(self, stage: Stage) -> bool:
        return not self.struck(stage) or time.monotonic() < self._over

    def heal(self, stage: Stage) -> None:
        super().heal(stage)
        for operator in stage.operators:
            operator.signal(signal.SIGCONT)

    def struck(self, stage: Stage) -> bool:
        return any(rule.struck for rule in self._made)


DEATHS: tuple[Fault, ...] = (
    Undisturbed(),
    *(
        Killed(f"killed {when}: {what}", f"kill -9 right {when} the request that is “{what}”", (when, what))
        for what in STEPS
        for when in ("before", "after")
    ),
    Killed(
        "killed again and again",
        "kill -9 at four steps of the claim path, one after the other",
        ("after", "create instance"),
        ("after", "bind"),
        ("before", "claim becomes Bound"),
        ("after", "let instance go"),
        quick=True,
    ),
    KilledMeanwhile(
        "killed during a launch", "kill -9 while the process of an instance is started", "create instance", (0.0, 0.3)
    ),
    KilledMeanwhile(
        "killed during a provisioning",
        "kill -9 while the agent is about to open a conversation",
        "bind",
        (0.2, 0.8),
        LOOPBACK_CREATE_SECONDS="1",
    ),
    KilledMeanwhile(
        "killed before a conversation is told",
        "kill -9 when the conversation exists, and nobody was told of it yet",
        "bind",
        (0.4, 0.9),
        LOOPBACK_ANSWER_SECONDS="1",
    ),
    KilledMeanwhile(
        "killed during an ending", "kill -9 while the process of an instance is ended", "delete instance", (0.0, 0.3)
    ),
    Frozen("frozen", "SIGSTOP past the Lease in the middle of a request, and SIGCONT; nobody stands by", 1, 0.0),
    Frozen("frozen, another one leads", "the same, while another operator takes over", 2, 0.0, quick=True),
    Frozen("late requests", "the same, and the request arrives after another operator has taken over", 2, 5.0),
)
