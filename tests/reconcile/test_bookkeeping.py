"""What is handed over to the ledger, and when."""

from random import Random

from controller.reconcile.bookkeeping import Bookkeeper
from controller.reconcile.loop import Controller, Ports
from controller.reconcile.view import View
from tests.core.builders import NOW, claim, instance, pool
from tests.doubles import virtualtime
from tests.doubles.backend import Machines
from tests.doubles.cluster import ApiServer, MemoryCluster
from tests.doubles.inmemory_runtime import MemoryRuntime, Programs
from tests.doubles.ledger import InMemoryLedger
from tests.doubles.wire import Direct
from tests.reconcile.clockwork import in_virtual_time


def ledger_of(capacity: int = 10_000) -> InMemoryLedger:
    return InMemoryLedger(lambda: NOW, capacity=capacity)


def keeper(view: View, ledger: InMemoryLedger) -> Bookkeeper:
    return Bookkeeper(view, ledger, lambda: NOW, lambda _: None, lambda: None)


def transitions(ledger: InMemoryLedger) -> list[tuple[str, str]]:
    return [(uid, what) for uid, what, _ in ledger.rows]


def test_what_is_there_at_the_beginning_is_handed_over_and_then_what_the_view_learns() -> None:
    view, ledger = View(), ledger_of()
    view.learn(pool())
    view.learn(claim("early"))
    keeper(view, ledger).begin()
    view.learn(instance("one"))
    view.forget(claim("early"))

    assert transitions(ledger) == [
        ("uid-early", "Created"),
        ("uid-one", "Created"),
        ("uid-early", "Gone"),
    ]


def test_a_second_term_hands_over_nothing_new() -> None:
    ledger = ledger_of()
    for _ in range(2):
        view = View()
        view.learn(claim("wish"))
        keeper(view, ledger).begin()

    assert transitions(ledger) == [("uid-wish", "Created")]


def test_what_found_no_room_is_handed_over_again_once_there_is_some() -> None:
    view, full = View(), ledger_of(capacity=1)
    full.go_away()
    keeper(view, full).begin()
    view.learn(claim("first"))
    view.learn(claim("second"))
    full.come_back()

    assert sorted(transitions(full)) == [("uid-first", "Created"), ("uid-second", "Created")]


def test_another_object_of_the_same_name_is_another_one() -> None:
    view, ledger = View(), ledger_of()
    keeper(view, ledger).begin()
    view.learn(claim("wish"))
    view.learn(claim("wish", meta={"uid": "uid-second", "resourceVersion": "9"}))

    assert transitions(ledger) == [
        ("uid-wish", "Created"),
        ("uid-wish", "Gone"),
        ("uid-second", "Created"),
    ]


@in_virtual_time
async def test_what_went_while_nobody_led_is_handed_over_with_its_end() -> None:
    """A standby's watch told of a claim, and of its end nobody."""
    view, ledger = View(), ledger_of()
    view.learn(claim("withdrawn"))
    server = ApiServer(virtualtime.now)
    ports = Ports(
        cluster=MemoryCluster(server, Direct()),
        runtime=MemoryRuntime(Programs(Machines(Random(0))), Direct()),
        backends={},
        clock=virtualtime.now,
        random=Random(0),
        ledger=ledger,
    )
    await Controller(ports, view=view).fill()

    assert transitions(ledger) == [("uid-withdrawn", "Created"), ("uid-withdrawn", "Gone")]
