"""The gateway as a child: restarted after a crash, never left behind."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import psutil
import pytest

from agent.gateway_process import GatewayEnd, GatewayProcess, port_in
from agent.log import Log
from agent.restart import RestartPolicy
from tests.agent.conftest import until

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

LOG = Log("agent")
PR_SET_CHILD_SUBREAPER = 36
# A gateway that leaves a child in its group; both ignore the polite signal.
STUBBORN = "trap '' TERM; sleep 1000 & echo $! > {path}; wait"


class FakeClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in other processes
            await asyncio.sleep(0.02)


async def test_a_crashed_gateway_is_restarted_and_remembers_its_conversation(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance()
    await instance.ready()
    first = await instance.provision()
    gateway = instance.gateway
    gateway.kill()
    await eventually(lambda: not gateway.is_running())
    away = await instance.ask("GET", "/convos/status")
    assert (away.status, away.content_type) == (502, "application/json")
    assert "away" in away.json["error"]
    assert (await instance.ask("GET", "/pool/health")).json == {"ready": False}
    assert (await instance.provision()).json == first.json
    await instance.ready()
    assert instance.gateway.pid != gateway.pid
    assert (await instance.convos_status())["conversationId"] == first.json["conversationId"]
    assert "the gateway crashed exit_code=-9 short_crashes=1 restart_in=2.0" in instance.log


async def test_a_gateway_that_ends_cleanly_ends_the_instance(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    instance.gateway.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(instance.wait) == 0
    assert "the gateway stopped" in instance.log


async def test_a_gateway_that_crashes_by_itself_is_taken_for_away(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_CRASH_AFTER="0.5")
    await instance.ready()
    await eventually(lambda: "the gateway crashed exit_code=1 short_crashes=1" in instance.log)
    # It is started again, and crashes again: one of many looks meets it while it is away.
    async with asyncio.timeout(30):
        while (await instance.ask("GET", "/pool/health")).status != 503:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_instance_cleanly_with_its_gateway(
    new_instance: Callable[..., Instance], signal_number: int
) -> None:
    instance = new_instance()
    await instance.ready()
    gateway = instance.gateway
    os.kill(instance.pid, signal_number)
    assert await asyncio.to_thread(instance.wait) == 0
    assert not gateway.is_running()
    assert not (instance.state_dir / "port").exists()


async def test_a_signal_ends_the_instance_although_a_stream_is_open(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    await instance.provision()
    headers = {"Authorization": f"Bearer {instance.token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.ws_connect(instance.url("/convos/stream")) as socket,
    ):
        os.kill(instance.pid, signal.SIGTERM)
        assert (await socket.receive()).type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}
        assert await asyncio.to_thread(instance.wait) == 0


async def test_a_signal_while_provisioning_lets_the_request_finish(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance(LOOPBACK_ANSWER_SECONDS="0.5")
    await instance.ready()
    asking = asyncio.create_task(instance.provision())
    await eventually((instance.state_dir / "loopback" / "state.json").exists)
    os.kill(instance.pid, signal.SIGTERM)
    assert (await asking).status == 200
    assert await asyncio.to_thread(instance.wait) == 0


async def test_a_killed_supervisor_takes_its_gateway_with_it(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    gateway = instance.gateway
    os.kill(instance.pid, signal.SIGKILL)
    await asyncio.to_thread(instance.wait)
    await eventually(lambda: not alive(gateway.pid))


async def test_a_supervisor_killed_while_its_gateway_boots_takes_it_with_it(
    new_instance: Callable[..., Instance],
) -> None:
    instance = new_instance(LOOPBACK_BOOT_SECONDS="600")
    gateway = instance.gateway
    os.kill(instance.pid, signal.SIGKILL)
    await asyncio.to_thread(instance.wait)
    await eventually(lambda: not alive(gateway.pid))


async def test_a_stopped_gateway_that_hangs_is_killed_in_time(new_instance: Callable[..., Instance]) -> None:
    instance = new_instance()
    await instance.ready()
    gateway = instance.gateway
    gateway.suspend()
    os.kill(instance.pid, signal.SIGTERM)
    assert await asyncio.to_thread(instance.wait) == 0
    assert not gateway.is_running()


async def test_a_gateway_listens_on_the_port_it_is_given(
    new_instance: Callable[..., Instance], unused_tcp_port: int
) -> None:
    instance = new_instance(GATEWAY_PORT=str(unused_tcp_port))
    await instance.ready()
    for _ in range(2):
        assert [link.laddr.port for link in instance.gateway.net_connections() if link.status == "LISTEN"] == [
            unused_tcp_port
        ]
        instance.kill()
        instance.start()
        await instance.ready()


@pytest.mark.parametrize(
    ("line", "port"),
    [(b"8080\n", 8080), (b"65535", 65535), (b"", None), (b"0\n", None), (b"65536\n", None), (b"-1\n", None),
     (b"80 80\n", None), (b"9" * 5000, None)],
)  # fmt: skip
def test_a_gateway_announces_a_port_or_nothing(line: bytes, port: int | None) -> None:
    assert port_in(line) == port


async def test_a_port_that_is_taken_is_said_in_one_line(new_instance: Callable[..., Instance]) -> None:
    first = new_instance()
    second = new_instance(PORT=str(first.port))
    assert await asyncio.to_thread(second.wait) == 1
    assert "cannot serve" in second.log
    assert "Traceback" not in second.log


async def test_five_short_crashes_give_up_after_four_pauses() -> None:
    clock = FakeClock()
    command = (sys.executable, "-c", "raise SystemExit(3)")
    gateway = GatewayProcess(command, log=LOG, clock=clock, sleep=clock.sleep)
    assert await gateway.supervise() is GatewayEnd.GAVE_UP
    assert clock.slept == [2.0] * 4


async def test_a_clean_exit_is_not_restarted() -> None:
    clock = FakeClock()
    gateway = GatewayProcess((sys.executable, "-c", ""), log=LOG, clock=clock, sleep=clock.sleep)
    assert await gateway.supervise() is GatewayEnd.STOPPED
    assert clock.slept == []


async def test_a_gateway_that_cannot_be_started_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        await GatewayProcess(("/nowhere/gateway",), log=LOG).supervise()


async def test_what_a_crashed_gateway_left_in_its_group_ends_before_the_restart(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    command = ("/bin/sh", "-c", f"sleep 1000 & echo $! > {path}; exit 1")
    policy = RestartPolicy(short_crashes_limit=1)
    assert await GatewayProcess(command, log=LOG, policy=policy).supervise() is GatewayEnd.GAVE_UP
    assert not alive(int(path.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux makes a process adopt its orphans")
async def test_as_the_first_process_of_a_container_it_reaps_the_orphans_of_the_group(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    command = ("/bin/sh", "-c", f"sleep 1000 & echo $! > {path}; exit 1")
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        await GatewayProcess(command, log=LOG, policy=RestartPolicy(short_crashes_limit=1)).supervise()
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    assert not psutil.pid_exists(int(path.read_text()))


async def test_a_group_that_ignores_the_polite_signal_is_killed_whole(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    command = ("/bin/sh", "-c", STUBBORN.format(path=path))
    supervision = asyncio.create_task(GatewayProcess(command, log=LOG, grace_seconds=0.2).supervise())
    await eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    child = int(path.read_text())
    assert alive(child)
    supervision.cancel()
    with pytest.raises(asyncio.CancelledError):
        await supervision
    # It is killed by then, and nobody's child: when the kernel has ended it is the kernel's business.
    await eventually(lambda: not alive(child))


async def test_a_group_whose_start_is_not_over_when_it_is_to_end_is_killed_whole(tmp_path: Path) -> None:
    path, us = tmp_path / "pid", psutil.Process()
    others = us.children()
    command = ("/bin/sh", "-c", STUBBORN.format(path=path))
    supervision = asyncio.create_task(GatewayProcess(command, log=LOG, grace_seconds=0.2).supervise())
    while us.children() == others:  # noqa: ASYNC110 - each step of the loop counts
        await asyncio.sleep(0)
    # Nobody here learns meanwhile that it has started.
    until(lambda: path.exists() and path.read_text().endswith("\n"), "the gateway's child")
    supervision.cancel()
    with pytest.raises(asyncio.CancelledError):
        await supervision
    await eventually(lambda: not alive(int(path.read_text())))
