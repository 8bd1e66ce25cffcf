"""A controller that dies by SIGKILL at one line of an operation after the other, and a successor that must cope.

Runs as ``python -m tests.contract.backend.doomed_controller OPERATION ROOT SEED STRIDE``; prints a JSON report. A
stride of 1 tries every line, a larger one every so manieth on average.
"""

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import controller.backends.process
from controller.backends.process import ProcessBackend
from controller.model import BackendSpec, Template
from controller.ports import LaunchOrder, RemoteState
from tests.contract.backend.harness import end, processes_below, reap

SOURCE = str(Path(controller.backends.process.__file__).parent)
# Its lines only read, and run once per process of the host.
UNINTERESTING = str(Path(SOURCE, "table.py"))
Operation = Callable[[ProcessBackend, str], Coroutine[Any, Any, object]]


class Executioner:
    """Counts the lines of the backend that run, in every thread, and kills its process at one of them."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.armed = False

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(SOURCE) or name == UNINTERESTING:
            return None
        if self.armed and event == "line":
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def backend(root: Path) -> ProcessBackend:
    return ProcessBackend(root, installation=str(root), default_command=["sleep", "600"])


async def launch(over: ProcessBackend, uid: str) -> object:
    return await over.launch(
        LaunchOrder(uid, uid, "default", "pool", BackendSpec.model_validate({"process": {}}), Template(), {})
    )


async def terminate(over: ProcessBackend, uid: str) -> None:
    await end(over, uid, grace=5.0)


async def burst(over: ProcessBackend, uid: str) -> object:
    return await asyncio.gather(*(launch(over, f"{uid}-{n}") for n in range(6)))


async def live(root: Path, uid: str, operation: Operation, executioner: Executioner | None) -> None:
    """The life of one controller: it starts, does one thing, and goes."""
    over = backend(root)
    await over.start()
    if executioner is not None:
        executioner.armed = True
    await operation(over, uid)
    if executioner is not None:
        executioner.armed = False
    await over.close()


def die(root: Path, uid: str, operation: Operation, at: int) -> bool:
    """Let a controller die at its line number ``at``; False when it was done before."""
    child = os.fork()
    if child == 0:
        executioner = Executioner(at)
        threading.settrace(executioner)
        sys.settrace(executioner)
        asyncio.run(live(root, uid, operation, executioner))
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def die_in_time(root: Path, uid: str, operation: Operation, seconds: float) -> bool:
    """Let a controller die some time after it began."""
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)

        async def tell_and_operate(over: ProcessBackend, each: str) -> None:
            os.write(begun, b".")
            await operation(over, each)
            await asyncio.sleep(60)

        asyncio.run(live(root, uid, tell_and_operate, None))
        os._exit(0)
    os.close(begun)
    os.read(ready, 1)
    os.close(ready)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


async def succeed(root: Path, uids: list[str], problems: list[str], *, launched: bool) -> None:
    """The next controller: what was to be launched is launched once, and then all of it can be ended."""
    over = backend(root)
    await over.start()
    for uid in uids:
        before = [process.pid for process in processes_below(root / uid)]
        if len(before) > 1:
            problems.append(f"{uid}: {len(before)} processes after the death")
        listed = {remote.uid: remote for remote in await over.list()}
        if launched and before and (uid not in listed or listed[uid].state is not RemoteState.RUNNING):
            problems.append(f"{uid}: process {before} is not listed as running: {listed.get(uid)}")
        if launched:
            await launch(over, uid)
            after = [process.pid for process in processes_below(root / uid)]
            if len(after) != 1 or (before and after != before):
                problems.append(f"{uid}: {before} became {after}")
        await terminate(over, uid)
        if processes_below(root / uid):
            problems.append(f"{uid}: survives its end")
    left = set(os.listdir(root)) - {".locks"}  # noqa: PTH208 - names are all that is needed
    if await over.list() or left:
        problems.append(f"{left or 'something in the list'} is left of {uids}")
    await over.close()
    reap()


def main() -> None:
    kind, root, dice, stride = sys.argv[1], Path(sys.argv[2]), random.Random(sys.argv[3]), int(sys.argv[4])
    problems: list[str] = []
    deaths = 0
    if kind == "burst":
        for number in range(6):
            uid = f"u{number}"
            deaths += die_in_time(root, uid, burst, dice.uniform(0.0, 0.08))
            asyncio.run(succeed(root, [f"{uid}-{n}" for n in range(6)], problems, launched=True))
    else:
        at, died = 0, True
        while died:
            uid = f"u{at}"
            if kind == "terminate":
                asyncio.run(live(root, uid, launch, None))
            died = die(root, uid, launch if kind == "launch" else terminate, at)
            deaths += died
            asyncio.run(succeed(root, [uid], problems, launched=kind == "launch"))
            at += dice.randint(1, 2 * stride - 1)
    sys.stdout.write(json.dumps({"deaths": deaths, "problems": problems}))


if __name__ == "__main__":
    main()
