"""What becomes of a pass that fails, and of the others meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import TypeVar

import pytest

from controller.errors import Conflict, Missing, Refused, Transient
from controller.model import AgentClaim, ClaimPhase
from controller.reconcile.loop import Controller, Ports
from tests.doubles import virtualtime
from tests.doubles.backend import Machines
from tests.doubles.cluster import ApiServer, MemoryCluster
from tests.doubles.inmemory_runtime import MemoryRuntime, Programs
from tests.doubles.wire import Direct
from tests.reconcile.clockwork import cancelled, in_virtual_time

T = TypeVar("T")


class Faulty(Direct):
    """A wire on which the first writes about one object fail."""

    def __init__(self, name: str, *errors: Exception) -> None:
        self.name = name
        self.errors = list(errors)
        self.tries: list[float] = []

    async def call(self, what: str, effect: Callable[[], T], *, write: bool = True, timeout: float = 15.0) -> T:  # noqa: ASYNC109
        if write and self.name in what.split():
            self.tries.append(round(asyncio.get_running_loop().time(), 3))
            if self.errors:
                raise self.errors.pop(0)
        return await super().call(what, effect, write=write, timeout=timeout)


@asynccontextmanager
async def controlling(wire: Faulty) -> AsyncIterator[ApiServer]:
    """A controller with two claims on a pool that does not exist: all there is to do is to say so."""
    server = ApiServer(virtualtime.now)
    for name in ("good", "bad"):
        server.create(AgentClaim, "default", {"metadata": {"name": name}, "spec": {"pool": "nowhere"}}, by="somebody")
    ports = Ports(
        cluster=MemoryCluster(server, wire),
        runtime=MemoryRuntime(Programs(Machines(Random(0))), Direct()),
        backends={},
        clock=virtualtime.now,
        random=Random(0),
    )
    controller = Controller(ports)
    await controller.fill()
    task = asyncio.ensure_future(controller.run())
    try:
        yield server
    finally:
        await cancelled(task)


def phase(server: ApiServer, name: str) -> ClaimPhase | None:
    return server.read(AgentClaim, "default", name).status.phase


@pytest.mark.parametrize(
    ("errors", "tries"),
    [
        ([Transient("the API server is busy")], [0, 0.25]),
        ([Transient("the API server is busy")] * 3, [0, 0.25, 0.75, 1.75]),
        ([Transient("come back later", retry_after=7)], [0, 7]),
        ([Conflict("it was changed")], [0, 0.05]),
        ([Refused("Forbidden", "the operator may not write this")], [0, 30]),
        ([ZeroDivisionError("a mistake of ours")] * 2, [0, 0.25, 0.75]),
    ],
    ids=[
        "what may pass backs off",
        "more so each time",
        "or as long as the server asks",
        "a conflict is decided anew at once",
        "a refusal is tried again seldom",
        "a mistake of ours backs off too",
    ],
)
@in_virtual_time
async def test_a_pass_that_fails_is_tried_again_and_does_not_stop_others(
    errors: list[Exception], tries: list[float]
) -> None:
    wire = Faulty("bad", *errors)
    async with controlling(wire) as server:
        await asyncio.sleep(0.01)
        assert (phase(server, "good"), phase(server, "bad")) == (ClaimPhase.PENDING, None)
        await asyncio.sleep(60)
        assert phase(server, "bad") is ClaimPhase.PENDING
        assert wire.tries[: len(tries)] == pytest.approx(tries, abs=0.01)


@in_virtual_time
async def test_what_is_gone_meanwhile_is_not_worth_a_second_try_before_its_backoff() -> None:
    wire = Faulty("bad", Missing("it is gone"))
    async with controlling(wire) as server:
        await asyncio.sleep(0.2)
        assert phase(server, "bad") is None
        assert len(wire.tries) == 1
