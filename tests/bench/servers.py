"""The API server that a benchmark runs against: one that is given, one that is started, or the standalone one."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from controller.errors import Misconfigured
from tests.bench.processes import Program, free_port

STANDALONE = "standalone"
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running API server."""

    kind: str
    kubeconfig: Path
    pids: Mapping[str, int] = field(default_factory=dict)
    """Its processes by name, where they are known."""


def chosen(wish: str | None) -> str:
    """What to run against: the wish, else what the environment says, else the standalone server."""
    environment = os.environ.get("AGENTPOOL_BENCH_KUBECONFIG") or os.environ.get("AGENTPOOL_ENVTEST")
    return wish or environment or STANDALONE


@asynccontextmanager
async def serving(choice: str, folder: Path) -> AsyncIterator[Server]:
    """Have an API server for as long as the block lasts; only what was started here is stopped."""
    path = Path.cwd() / choice
    if choice == STANDALONE:
        async with _standalone(folder) as server:
            yield server
    elif _is_file(path / "start"):
        async with _genuine(path, folder / "apiserver") as server:
            yield server
    elif _is_file(path):
        yield Server("given", path)
    else:
        raise Misconfigured(
            f"there is no API server at {choice}: name a kubeconfig, a directory with a start script, or {STANDALONE}"
        )


def _is_file(path: Path) -> bool:
    return path.is_file()


@asynccontextmanager
async def _genuine(scripts: Path, folder: Path) -> AsyncIterator[Server]:
    ports = {"PORT": str(free_port()), "ETCD_PORT": str(free_port(following=1))}
    try:
        printed = await _script(scripts / "start", folder, ports)
        yield Server("genuine", Path(printed.splitlines()[-1]), _pids(folder))
    finally:
        await _script(scripts / "stop", folder, {})


def _pids(folder: Path) -> dict[str, int]:
    return {file.stem: int(file.read_text(encoding="ascii")) for file in sorted(folder.glob("*.pid"))}


async def _script(script: Path, folder: Path, env: Mapping[str, str]) -> str:
    # Not through a pipe: under uvloop the daemons would inherit it, and it would never come to its end.
    with tempfile.TemporaryFile() as printed:
        process = await asyncio.create_subprocess_exec(
            script, folder, env={**os.environ, **env}, stdout=printed, start_new_session=True
        )
        if await process.wait() != 0:
            raise Misconfigured(f"{script} failed with exit code {process.returncode}: see what it printed above")
        printed.seek(0)
        return printed.read().decode()


@asynccontextmanager
async def _standalone(folder: Path) -> AsyncIterator[Server]:
    data = folder / "standalone"
    kubeconfig = data / "kubeconfig"
    command = [sys.executable, "-m", "tests.bench.standalone", "--folder", str(data)]
    program = await Program.start(STANDALONE, command, log=folder / "standalone.log")
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not kubeconfig.exists():
                if program.exit_code is not None:
                    raise Misconfigured(f"the standalone server did not start:\n{program.last_words()}")
                await asyncio.sleep(0.05)
        yield Server(STANDALONE, kubeconfig, {"apiserver": program.pid})
    finally:
        await program.stop()
