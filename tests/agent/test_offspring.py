"""The first start of a loopback gateway: a fork of its supervisor that has nothing of it but what it has imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the gateway is always a new interpreter")

SUPERVISOR = """
import asyncio, gc, json, os, signal, socket, sys
from agent.gateway_process import GatewayProcess
from agent.log import Log, configure
from agent.restart import RestartPolicy

def program(words):
    signals = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)]
    asyncio.run(asyncio.sleep(0.01))
    told = {
        "words": words,
        "descriptors": [number for number in range(64) if os.path.exists(f"/proc/self/fd/{number}")],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "leads its session": os.getsid(0) == os.getpid(),
        "collects": gc.isenabled(),
        "signals": signals == [signal.SIG_DFL, signal.default_int_handler, signal.SIG_IGN],
    }
    print(json.dumps(told))
    FAIL

async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)
    with socket.create_server(("127.0.0.1", 0)):
        gateway = GatewayProcess(
            (sys.executable, "-m", "this", "--port", "7"),
            log=Log("agent"), policy=RestartPolicy(short_crashes_limit=1), program=program,
            environment={"A": "B"}, directory=sys.argv[1],
        )
        print((await gateway.supervise()).value)

configure("agent")
asyncio.run(main())
"""


def told_by(fail: str, folder: Path) -> tuple[dict[str, Any], list[str], str]:
    """What the gateway told of itself, the rest of what was written, and the errors."""
    command = [sys.executable, "-c", SUPERVISOR.replace("FAIL", fail), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, *rest = done.stdout.splitlines()
    return json.loads(first), rest, done.stderr


def test_it_is_what_a_new_interpreter_would_be(tmp_path: Path) -> None:
    told, rest, errors = told_by("sys.exit(0)", tmp_path)
    [*words, announce] = told["words"]
    assert words == ["--port", "7", "--announce-fd"]
    assert told["descriptors"] == [0, 1, 2, int(announce)]
    assert told["environment"] == {"A": "B"}
    assert told["directory"] == str(tmp_path)
    assert (told["leads its session"], told["collects"], told["signals"]) == (True, True, True)
    assert rest[-1] == "stopped"
    assert errors == ""


@pytest.mark.parametrize(
    ("fail", "code", "said"),
    [("sys.exit(3)", 3, ""), ("os.kill(os.getpid(), 9)", -9, ""), ("1 / 0", 1, "ZeroDivisionError: division by zero")],
)
def test_its_end_is_told_as_that_of_any_child(fail: str, code: int, said: str, tmp_path: Path) -> None:
    _, rest, errors = told_by(fail, tmp_path)
    assert f"exit_code={code} " in rest[0]
    assert rest[-1] == "gave up"
    assert said in errors
