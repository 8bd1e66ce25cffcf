"""What every ledger does."""

import asyncio
from random import Random

import pytest

from controller.core.transitions import derive
from tests.core.builders import at, claim, instance
from tests.ledger.conftest import Listener, Subject, eventually, keys_of, soon
from tests.ledger.lives import claim_life, instance_life

BOUND = claim(status={"phase": "Bound", "boundAt": at(2), "instance": "one"})


async def test_what_is_handed_over_arrives_in_order(subject: Subject) -> None:
    life = claim_life("wish", Random(1))
    for record in life.records():
        subject.ledger.record([record])
    await soon(subject.ledger.settled("uid-wish"))
    assert subject.keys() == keys_of(life.records())


async def test_what_is_handed_over_twice_arrives_once(subject: Subject) -> None:
    for _ in range(3):
        subject.ledger.record(derive(None, BOUND))
        await soon(subject.ledger.settled("uid-wish"))
    assert subject.keys() == [("uid-wish", "Created", ""), ("uid-wish", "Bound", "")]


async def test_an_object_that_was_never_heard_of_is_safe(subject: Subject) -> None:
    assert subject.ledger.safe("uid-nobody")
    await soon(subject.ledger.settled("uid-nobody"))


async def test_while_the_database_is_away_nothing_is_lost_and_nothing_raises(subject: Subject) -> None:
    await eventually(lambda: subject.ledger.health is None, "well at first")
    await subject.go_away()
    lives = [instance_life(f"i{number}", Random(number)) for number in range(5)]
    for life in lives:
        subject.ledger.record(life.records())
    await eventually(lambda: subject.ledger.health is not None, "it says that something is wrong")
    assert not any(subject.ledger.safe(f"uid-i{number}") for number in range(5))
    assert subject.keys() == []
    backlog = subject.ledger.backlog
    assert (backlog.records, backlog.full) == (sum(len(life.records()) for life in lives), False)
    await subject.come_back()
    for number in range(5):
        await soon(subject.ledger.settled(f"uid-i{number}"))
    assert subject.keys() == [key for life in lives for key in keys_of(life.records())]
    assert subject.ledger.health is None
    assert subject.ledger.backlog.records == 0


async def test_the_backlog_says_since_when_the_oldest_has_waited(subject: Subject) -> None:
    await eventually(lambda: subject.ledger.health is None, "well at first")
    await subject.go_away()
    subject.ledger.record(derive(None, BOUND))
    began = subject.clock()
    subject.clock.jump(90)
    subject.ledger.record(derive(None, instance()))
    assert subject.ledger.backlog.since == began


async def test_what_waits_outlives_the_process(subject: Subject) -> None:
    await eventually(lambda: subject.ledger.health is None, "well at first")
    await subject.go_away()
    subject.ledger.record(derive(None, BOUND))
    another = await subject.again()
    assert not another.ledger.safe("uid-wish")
    another.ledger.record(derive(None, BOUND))
    another.ledger.record(derive(BOUND, None))
    assert another.ledger.backlog.records == 3
    await another.come_back()
    await soon(another.ledger.settled("uid-wish"))
    assert another.keys() == [
        ("uid-wish", "Created", ""),
        ("uid-wish", "Bound", ""),
        ("uid-wish", "Gone", ""),
    ]


async def test_the_listener_hears_of_each_object_once_all_of_it_has_arrived(subject: Subject) -> None:
    listener = Listener()
    subject.ledger.listen(listener)
    subject.ledger.record(derive(None, BOUND))
    subject.ledger.record(derive(None, instance()))
    await eventually(lambda: {"uid-wish", "uid-one"} <= set(listener.settled_uids), "told")
    assert listener.missed_uids == []


async def test_several_may_wait_for_the_same_object(subject: Subject) -> None:
    subject.ledger.record(derive(None, BOUND))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(soon(subject.ledger.settled("uid-wish")))


@pytest.mark.parametrize("seed", range(3))
async def test_through_outages_and_kills_each_transition_arrives_once(subject: Subject, seed: int) -> None:
    random = Random(seed)
    lives = [claim_life(f"c{number}", random) for number in range(6)]
    lives += [instance_life(f"i{number}", random) for number in range(6)]
    for life in lives:
        for before, after in zip([None, *life.states], [*life.states, None], strict=True):
            match random.randrange(8):
                case 0:
                    await subject.go_away()
                case 1 | 2:
                    await subject.come_back()
                case 3:
                    subject = await subject.again()
                    subject.ledger.record(derive(None, before))
            subject.ledger.record(derive(before, after))
            await asyncio.sleep(0)
    await subject.come_back()
    for number in range(6):
        await soon(subject.ledger.settled(f"uid-c{number}"))
        await soon(subject.ledger.settled(f"uid-i{number}"))
    assert sorted(subject.keys()) == sorted(key for life in lives for key in keys_of(life.records()))
