"""OpenClaw as the supervisor's gateway, played by a stand-in; the real one has its tests in tests/openclaw."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.agent.conftest import alive

if TYPE_CHECKING:
    from tests.agent.conftest import Instance

STAND_IN = shlex.join([sys.executable, str(Path(__file__).with_name("stand_in_openclaw.py"))])


@pytest.fixture
def new_openclaw(new_instance: Callable[..., Instance]) -> Callable[..., Instance]:
    def make(**environment: str) -> Instance:
        # The system chooses the gateway's port: many tests run at once.
        return new_instance(
            **{"AGENT_GATEWAY": "openclaw", "OPENCLAW_COMMAND": STAND_IN, "GATEWAY_PORT": "0", **environment}
        )

    return make


async def tree(instance: Instance) -> list[psutil.Process]:
    """The lifeline, the gateway and its helper, once all of them are there."""
    async with asyncio.timeout(30):
        while len(found := psutil.Process(instance.pid).children(recursive=True)) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def gateway_in(processes: list[psutil.Process]) -> psutil.Process:
    [gateway] = [one for one in processes if "--port" in one.cmdline() and "lifeline.py" not in " ".join(one.cmdline())]
    return gateway


async def gone(processes: list[psutil.Process]) -> None:
    async with asyncio.timeout(30):
        while any(alive(one) for one in processes):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def log_says(instance: Instance, text: str) -> None:
    async with asyncio.timeout(30):
        while text not in instance.log:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_it_is_ready_and_names_its_gateway(new_openclaw: Callable[..., Instance]) -> None:
    instance = new_openclaw()
    health = await instance.ready()
    assert (health.json["runtime"], health.json["clean"]) == ("openclaw", True)
    assert (await instance.ask("GET", "/nothing")).status == 404


async def test_the_gateway_runs_in_its_own_group_and_writes_only_to_the_state_directory(
    new_openclaw: Callable[..., Instance], tmp_path: Path
) -> None:
    instance = new_openclaw(OPENCLAW_PRIMARY_MODEL="openrouter/some/model")
    await instance.ready()
    told: dict[str, Any] = (await instance.ask("GET", "/self")).json
    state = instance.state_dir
    assert told["arguments"][:3] == ["gateway", "run", "--port"]
    assert told["arguments"][4:] == ["--bind", "loopback", "--auth", "token"]
    assert told["cwd"] == str(state / "home")
    expected = {
        "HOME": str(state / "home"),
        "OPENCLAW_STATE_DIR": str(state),
        "OPENCLAW_CONFIG_PATH": str(state / "openclaw.json"),
        "OPENCLAW_WORKSPACE_DIR": str(state / "workspace"),
        "NODE_COMPILE_CACHE": str(state / "compile-cache"),
        "OPENCLAW_NO_RESPAWN": "1",
        "OPENCLAW_PRIMARY_MODEL": "openrouter/some/model",
        "AGENT_TOKEN": instance.token,
    }
    assert told["environment"] | expected == told["environment"]
    assert told["environment"]["OPENCLAW_GATEWAY_TOKEN"] != instance.token
    gateway = gateway_in(await tree(instance))
    assert os.getpgid(gateway.pid) not in {os.getpgid(instance.pid), os.getpgid(0)}


@pytest.mark.parametrize("word", ["unready", "pageful"])
async def test_it_is_not_ready_while_a_probe_fails(new_openclaw: Callable[..., Instance], word: str) -> None:
    instance = new_openclaw(STAND_IN=word)
    async with asyncio.timeout(30):
        while (await instance.ask("GET", "/self")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    reply = await instance.ask("GET", "/pool/health")
    assert (reply.status, reply.json) == (503, {"ready": False})
    assert (await instance.provision()).status == 503


async def test_provisioning_writes_the_instructions_where_openclaw_reads_them(
    new_openclaw: Callable[..., Instance],
) -> None:
    instance = new_openclaw()
    await instance.ready()
    workspace = instance.state_dir / "workspace"
    before = (workspace / "AGENTS.md").read_text()
    assert (await instance.provision()).json["status"] == "created"
    instructions = (workspace / "INSTRUCTIONS.md").read_text()
    after = (workspace / "AGENTS.md").read_text()
    assert after.startswith(before)
    assert instructions in after.removeprefix(before)


async def test_a_killed_gateway_is_restarted_without_what_it_left_behind(
    new_openclaw: Callable[..., Instance],
) -> None:
    instance = new_openclaw()
    await instance.ready()
    processes = await tree(instance)
    gateway_in(processes).kill()
    await gone(processes)
    await instance.ready()
    assert "the gateway crashed exit_code=-9 short_crashes=1 restart_in=2.0" in instance.log


async def test_a_killed_lifeline_takes_the_gateway_with_it_and_both_come_back(
    new_openclaw: Callable[..., Instance],
) -> None:
    instance = new_openclaw()
    await instance.ready()
    processes = await tree(instance)
    gateway = gateway_in(processes)
    lifeline = gateway.parent()
    assert lifeline is not None
    helpers = [one for one in processes if one not in {gateway, lifeline}]
    lifeline.kill()
    await gone([gateway, lifeline])
    await instance.ready()
    # Nobody is left who could know of the helper but this test.
    for helper in helpers:
        helper.kill()


async def test_a_gateway_that_ends_cleanly_ends_the_instance(new_openclaw: Callable[..., Instance]) -> None:
    instance = new_openclaw(STAND_IN="stop")
    assert await asyncio.to_thread(instance.wait) == 0
    assert "the gateway stopped" in instance.log


async def test_a_gateway_that_keeps_crashing_ends_the_instance(new_openclaw: Callable[..., Instance]) -> None:
    instance = new_openclaw(STAND_IN="crash")
    assert await asyncio.to_thread(instance.wait) == 1
    assert instance.log.count("the gateway crashed exit_code=3") == 4
    assert "the gateway keeps crashing: giving up exit_code=3 short_crashes=5" in instance.log


@pytest.mark.parametrize("words", ["", "stubborn"])
async def test_a_signal_ends_the_instance_with_everything_the_gateway_started(
    new_openclaw: Callable[..., Instance], words: str
) -> None:
    instance = new_openclaw(STAND_IN=words)
    await instance.ready()
    processes = await tree(instance)
    os.kill(instance.pid, signal.SIGTERM)
    assert await asyncio.to_thread(instance.wait) == 0
    await gone(processes)


async def test_a_killed_supervisor_takes_everything_the_gateway_started_with_it(
    new_openclaw: Callable[..., Instance],
) -> None:
    instance = new_openclaw(STAND_IN="stubborn")
    await instance.ready()
    processes = await tree(instance)
    os.kill(instance.pid, signal.SIGKILL)
    await asyncio.to_thread(instance.wait)
    await gone(processes)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_gateway_port_that_is_taken_is_said_in_one_sentence(
    new_openclaw: Callable[..., Instance], taken_port: int
) -> None:
    instance = new_openclaw(GATEWAY_PORT=str(taken_port))
    await log_says(instance, f"The gateway's port 127.0.0.1:{taken_port} is taken by another program")
    await log_says(instance, "the gateway crashed exit_code=1")
    assert (await instance.ask("GET", "/pool/health")).status == 503


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"OPENCLAW_COMMAND": ""}, "There is no 'openclaw' on PATH: install it", id="not on PATH"),
        pytest.param({"OPENCLAW_COMMAND": "/nowhere/openclaw"}, "not an executable file", id="a path to nothing"),
        pytest.param({"OPENCLAW_COMMAND": "'openclaw"}, "quotation mark", id="half a quotation"),
        pytest.param({"AGENT_PLUGINS": "/nowhere"}, "AGENT_PLUGINS names /nowhere", id="a plugin that is not there"),
        pytest.param({"AGENT_VOLUME": "/nowhere"}, "AGENT_VOLUME='/nowhere' is not a directory", id="no volume"),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path: Path, changes: dict[str, str], sentence: str) -> None:
    environment = {
        "PATH": str(tmp_path),
        "OPENCLAW_GATEWAY_TOKEN": "secret-token",
        "OPENCLAW_STATE_DIR": str(tmp_path / "state"),
        "AGENT_GATEWAY": "openclaw",
        "OPENCLAW_COMMAND": STAND_IN,
    }
    ended = subprocess.run(
        [sys.executable, "-m", "agent"], env=environment | changes, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1
