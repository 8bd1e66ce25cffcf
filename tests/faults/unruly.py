"""A runtime that does what runtimes do on a bad day: the real agent behind a proxy, as one instance.

``python -m tests.faults.unruly FOLDER`` is the command of a pool's template. It starts ``python -m agent`` and passes
everything on to it, except what the files in FOLDER say (``runtime_trouble.py``).
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.faults.runtime_trouble import Trouble, Troubles

_PROVISION = "/pool/provision"
_PAGE = "<!doctype html><title>OpenClaw</title><p>Nothing to see here."
_HUGE = b" " * 65536
_OWN = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
_LOOK_SECONDS = 0.02


class Unruly:
    """The proxy of one instance."""

    def __init__(self, troubles: Troubles, agent: asyncio.subprocess.Process, port: int) -> None:
        self._troubles, self._agent, self._port = troubles, agent, port
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._carried: set[asyncio.Task[web.Response]] = set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass it on, unless there is trouble."""
        content = await request.read()
        trouble = self._troubles.take(provisions=request.path == _PROVISION)
        match trouble:
            case None:
                return await self._pass_on(request, content)
            case Trouble.HANG | Trouble.SILENT_EVERYWHERE:
                return await self._say_nothing()
            case Trouble.HTML | Trouble.PAGE_EVERYWHERE:
                return web.Response(text=_PAGE, content_type="text/html")
            case Trouble.UNAUTHORIZED:
                return web.json_response({"error": "Who are you?"}, status=401)
            case Trouble.DIE_BEFORE:
                return self._die()
            case Trouble.AGENT_DIES:
                self._agent.kill()
                return await self._pass_on(request, content)
            case _:
                return await self._spoil(trouble, request, await self._carry_out(request, content))

    async def _spoil(self, trouble: Trouble, request: web.BaseRequest, answer: web.Response) -> web.StreamResponse:
        """It is done; what becomes of the answer?"""
        if trouble is Trouble.DIE_AFTER:
            return self._die()
        if trouble is Trouble.LATE:
            return await self._say_nothing()
        if trouble is Trouble.ERROR:
            return web.json_response({"error": "Something broke."}, status=500)
        body = answer.body if isinstance(answer.body, bytes) else b""
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
        if trouble is Trouble.TRUNCATED:
            response.content_length = len(body)
        await response.prepare(request)
        if trouble is Trouble.TRUNCATED:
            await response.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        while True:
            await response.write(_HUGE if trouble is Trouble.HUGE else b" ")
            await asyncio.sleep(0.0 if trouble is Trouble.HUGE else 0.2)

    async def _carry_out(self, request: web.BaseRequest, content: bytes) -> web.Response:
        """To its end, even if the caller hangs up meanwhile."""
        task = asyncio.create_task(self._pass_on(request, content))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        return await asyncio.shield(task)

    async def _pass_on(self, request: web.BaseRequest, content: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        url = f"http://127.0.0.1:{self._port}{request.raw_path}"
        try:
            async with self._session.request(request.method, url, data=content or None, headers=headers) as answer:
                body = await answer.read()
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
                return web.Response(status=answer.status, headers=kept, body=body)
        except aiohttp.ClientError:
            return web.json_response({"error": "The agent is gone."}, status=502)

    @staticmethod
    async def _say_nothing() -> web.StreamResponse:
        # Until the caller hangs up, which cancels this.
        await asyncio.get_running_loop().create_future()
        raise AssertionError("a future that nobody has was resolved")

    @staticmethod
    def _die() -> web.StreamResponse:
        os.killpg(0, signal.SIGKILL)
        raise AssertionError("it survived kill -9")


async def _serve(folder: Path) -> int:
    state = Path(os.environ["OPENCLAW_STATE_DIR"])
    (state / "port").unlink(missing_ok=True)
    agent = await asyncio.create_subprocess_exec(sys.executable, "-m", "agent", env={**os.environ, "PORT": "0"})
    while not (state / "port").exists():
        if agent.returncode is not None:
            return agent.returncode
        await asyncio.sleep(_LOOK_SECONDS)
    unruly = Unruly(Troubles(folder), agent, int((state / "port").read_text()))
    runner = web.ServerRunner(web.Server(unruly.handle, access_log=None), handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(os.environ["PORT"])).start()
    return await _end(agent)


async def _end(agent: asyncio.subprocess.Process) -> int:
    """When the agent ends. One that was killed leaves its port open: whoever asks there hears of it."""
    stopping = asyncio.Event()

    def stop() -> None:
        stopping.set()
        if agent.returncode is None:
            # Its own terminate() would first look whether it has ended, and take its exit away from whoever waits.
            os.kill(agent.pid, signal.SIGTERM)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    status = await agent.wait()
    if status < 0:
        await stopping.wait()
    return max(status, 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(_serve(Path(sys.argv[1]))))
