"""Two operators that both believe they lead, for a moment or for longer."""

import random

from tests.e2e.commands import Command
from tests.faults import effects
from tests.faults.apiproxy import ApiProxy
from tests.faults.fault import OPERATOR, Fault
from tests.faults.rules import Rule
from tests.faults.stage import PATIENCE, Plan, Stage

_OTHER_LEASE = "of-another-lease"


class _OfTwo(Fault):
    """One leads, and one stands by."""

    peer = OPERATOR
    lasts = 4.0

    def prepare(self, plan: Plan) -> None:
        plan.operators = 2


class _TwoLeaders(_OfTwo):
    """The standby is started anew with a Lease of its own, which nobody else asks for."""

    name = "two leaders"
    sentence = "another operator, which asks nobody, leads beside the one that has the Lease, for four seconds"
    quick = True

    def strike(self, stage: Stage, dice: random.Random) -> None:
        other = _by_role(stage, leads=False)[0]
        other.change(AGENTPOOL_LEASE_NAME=_OTHER_LEASE)
        other.kill()
        # A new process takes its time, and the story shall go on with both.
        stage.until(lambda: _leads(other), stage.told, "the other one leads, too")

    def heal(self, stage: Stage) -> None:
        for operator in stage.operators:
            if operator.changes:
                operator.change()
                operator.kill()


class _LeaseDeleted(_OfTwo):
    """Somebody deletes the Lease, and one that has just started takes the name for free."""

    name = "the Lease is deleted"
    sentence = "the Lease is deleted by hand, while its holder works, until an operator that has just started gets it"
    leaderless = True

    def strike(self, stage: Stage, dice: random.Random) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{stage.api.namespace}/leases/agentpool"
        other = _by_role(stage, leads=False)[0]
        other.kill()

        def both_ask() -> bool:
            # Its holder makes it anew within a moment; so it is deleted until the other one is the faster.
            stage.api.http.delete(path)
            return _leads(other)

        stage.until(both_ask, stage.told, "the other one gets the Lease")


class _CutOff(_OfTwo):
    """The leader's way to the API server is cut, for longer than its Lease lasts."""

    name = "a leader that is cut off"
    sentence = "nothing of the leader gets to the API server for longer than its Lease, and another one takes over"
    leaderless = True

    def strike(self, stage: Stage, dice: random.Random) -> None:
        proxy = _by_role(stage, leads=True)[1]
        proxy.refuses = True
        stage.loop.call(proxy.cut)

    def heal(self, stage: Stage) -> None:
        for proxy in stage.proxies:
            proxy.refuses = False


class _Deaf(_OfTwo):
    """Whatever the leader asks for is carried out, and it hears of nothing."""

    name = "a leader that hears nothing"
    sentence = "what the leader asks for is carried out, its Lease too, but no answer comes back for four seconds"
    leaderless = True

    def strike(self, stage: Stage, dice: random.Random) -> None:
        proxy = _by_role(stage, leads=True)[1]
        proxy.add(Rule(lambda asked: asked.verb != "watch", effects.lose(), None))
        stage.loop.call(proxy.cut_watches)


LEADER_FAULTS: tuple[Fault, ...] = (_TwoLeaders(), _LeaseDeleted(), _CutOff(), _Deaf())


def _leads(operator: Command) -> bool:
    return operator.readiness() == (200, "ok")


def _by_role(stage: Stage, *, leads: bool) -> tuple[Command, ApiProxy]:
    """The operator that leads, or the one that stands by, and its way to the API server."""

    def found() -> list[tuple[Command, ApiProxy]]:
        both = zip(stage.operators, stage.proxies, strict=True)
        word = "ok" if leads else "standby: "
        return [(operator, proxy) for operator, proxy in both if operator.readiness()[1].startswith(word)]

    return stage.until(found, stage.told, f"one that {'leads' if leads else 'stands by'} within {PATIENCE:g} s")[0]
