"""The calendar goes on evenly, whatever happens to the machine's clock, and follows it once it is to be believed."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from controller.calendar import BELIEVED_AFTER_SECONDS, Calendar
from tests.doubles import virtualtime

HOURS = 3 * 3600.0
BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Machine:
    """Its two clocks: one can be set, the other cannot."""

    def __init__(self) -> None:
        self.set_by = 0.0
        self.uptime = 5000.0
        self.calendar = Calendar(lambda: self.uptime, lambda: BEGAN.timestamp() + self.uptime - 5000.0 + self.set_by)

    def passes(self, seconds: float) -> None:
        self.uptime += seconds

    @property
    def told(self) -> float:
        """Seconds that have passed by the calendar."""
        return (self.calendar() - BEGAN).total_seconds()


def test_it_tells_the_time_of_the_machine() -> None:
    machine = Machine()
    assert machine.calendar() == BEGAN
    machine.passes(90)
    assert machine.calendar() == BEGAN + timedelta(seconds=90)


@pytest.mark.parametrize("jump", [HOURS, -HOURS])
def test_a_jump_that_is_taken_back_was_never_seen(jump: float) -> None:
    machine = Machine()
    for _ in range(5):
        machine.set_by = jump
        machine.passes(BELIEVED_AFTER_SECONDS / 2)
        machine.calendar.follow()
        assert machine.told == pytest.approx(machine.uptime - 5000.0)
        machine.set_by = 0.0
        machine.passes(1.0)
        assert machine.told == pytest.approx(machine.uptime - 5000.0)


def test_small_corrections_are_followed_at_once() -> None:
    machine = Machine()
    machine.set_by = 1.5
    assert machine.told == pytest.approx(1.5)
    machine.set_by = 0.0
    assert machine.told == pytest.approx(0.0)


def test_a_clock_that_goes_from_one_wrong_time_to_another_is_not_believed() -> None:
    machine = Machine()
    for jump in (HOURS, -HOURS, 2 * HOURS, 5 * HOURS):
        machine.set_by = jump
        machine.passes(BELIEVED_AFTER_SECONDS * 0.9)
        machine.calendar.follow()
        assert machine.told == pytest.approx(machine.uptime - 5000.0)


@pytest.mark.parametrize("jump", [HOURS, -HOURS])
def test_a_clock_that_was_set_for_good_is_followed_by_whoever_begins_anew(jump: float) -> None:
    async def story() -> None:
        loop, began = asyncio.get_running_loop(), BEGAN.timestamp()
        set_by = 0.0
        calendar = Calendar(loop.time, lambda: began + loop.time() + set_by)
        waiting = asyncio.create_task(calendar.until_set())
        await asyncio.sleep(1000.0)
        assert not waiting.done()
        set_by = jump
        await asyncio.sleep(BELIEVED_AFTER_SECONDS - 5.0)
        assert not waiting.done()
        await asyncio.sleep(10.0)
        assert waiting.done()
        # Until then nothing that was noted has to be thought over.
        assert calendar() == BEGAN + timedelta(seconds=loop.time())
        calendar.follow()
        assert calendar() == BEGAN + timedelta(seconds=loop.time() + jump)
        again = asyncio.create_task(calendar.until_set())
        await asyncio.sleep(1000.0)
        assert not again.done()
        again.cancel()

    virtualtime.run(story())


def by_the_api_server(machine: Machine) -> datetime:
    """What its clock says: it is right, to the second."""
    return BEGAN + timedelta(seconds=int(machine.uptime - 5000.0))


@pytest.mark.parametrize("wrong", [HOURS, -HOURS, 31.5])
def test_a_clock_that_is_far_from_the_api_servers_is_not_gone_by(wrong: float) -> None:
    machine = Machine()
    machine.set_by = wrong
    machine.passes(BELIEVED_AFTER_SECONDS)
    machine.calendar.follow()
    machine.calendar.agree(by_the_api_server(machine))
    assert machine.told == pytest.approx(machine.uptime - 5000.0)
    machine.passes(1000.0)
    assert machine.told == pytest.approx(machine.uptime - 5000.0)


def test_one_that_is_set_right_afterwards_is_gone_by_again_from_the_next_turn_on() -> None:
    machine = Machine()
    machine.set_by = HOURS
    machine.calendar.agree(by_the_api_server(machine))
    machine.set_by = 0.0
    assert machine.told == pytest.approx(machine.uptime - 5000.0)
    machine.passes(BELIEVED_AFTER_SECONDS)
    asyncio.run(machine.calendar.until_set())
    machine.calendar.agree(by_the_api_server(machine))
    machine.passes(50.0)
    assert machine.told == pytest.approx(machine.uptime - 5000.0)


@pytest.mark.parametrize("there", [None, BEGAN + timedelta(seconds=29)])
def test_a_clock_that_nobody_contradicts_is_gone_by(there: datetime | None) -> None:
    machine = Machine()
    machine.calendar.agree(there)
    assert machine.told == pytest.approx(0.0)
