"""What a backend does to remotes when it closes: another operator waits for the lead meanwhile."""

import asyncio

import pytest

from controller.backends import works
from controller.backends.works import Works
from controller.errors import Transient


async def test_what_ends_in_a_moment_is_carried_through() -> None:
    doing, gate = Works("some"), asyncio.Event()

    async def work() -> str:
        await gate.wait()
        return "done"

    asked = asyncio.create_task(doing.carry_through(work()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(doing.close())
    await asyncio.sleep(0)
    gate.set()
    await closing
    assert await asked == "done"


async def test_it_is_carried_through_for_a_caller_that_has_given_up() -> None:
    doing, done = Works("some"), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    asked = asyncio.create_task(doing.carry_through(work()))
    await asyncio.sleep(0)
    asked.cancel()
    await done.wait()
    with pytest.raises(asyncio.CancelledError):
        await asked


async def test_what_would_keep_the_next_leader_waiting_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "CLOSE_SECONDS", 0.0)
    doing = Works("some")
    asked = asyncio.create_task(doing.carry_through(asyncio.sleep(3600)))
    given_up = asyncio.create_task(doing.carry_through(asyncio.sleep(3600)))
    await asyncio.sleep(0)
    given_up.cancel()
    await doing.close()
    with pytest.raises(Transient, match="the some backend is closing"):
        await asked
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_once_it_closes_nothing_is_begun() -> None:
    doing = Works("some")
    await doing.close()
    with pytest.raises(Transient, match="is closing"):
        await doing.carry_through(asyncio.sleep(0))
