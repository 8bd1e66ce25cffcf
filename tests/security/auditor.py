"""A proxy in front of an API server that lets through what RBAC would, and keeps account of every request."""

import asyncio
import json
import threading
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from tests.e2e.api import Api
from tests.security.grants import Asked, Grant, asked_by

_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding", "content-encoding"}
_LIMIT = 16 * 1024 * 1024


class Auditor:
    """Runs in a thread of its own while it is open."""

    def __init__(self, api: Api, folder: Path, grants: Iterable[Grant]) -> None:
        self._api = api
        self._grants = frozenset(grants)
        self._disputed: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.kubeconfig = folder / "through-the-auditor"
        self.allowed: set[Asked] = set()
        self.refused: set[Asked] = set()
        self.used: set[Grant] = set()

    def open(self) -> None:
        """Listen, and write a kubeconfig that leads here."""
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(30)
        config = yaml.safe_load(self._api.kubeconfig.read_text())
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def close(self) -> None:
        """Break off whatever goes on."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    @property
    def unused(self) -> set[Grant]:
        """What was given, and nothing has needed so far."""
        return set(self._grants) - self.used

    def dispute(self, resource: str) -> None:
        """Answer the next patch of this resource with a conflict, as if somebody else had been faster."""
        self._disputed.add(resource)

    async def _open(self) -> int:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._api.tls, limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = asked_by(request.method, request.path, watch=request.query.get("watch") in {"true", "1"})
        if asked is not None:
            enough = {grant for grant in self._grants if grant.allows(asked)}
            self.used |= enough
            (self.allowed if enough else self.refused).add(asked)
            if not enough:
                return _status(403, "Forbidden", f"agentpool cannot {asked.verb} {asked.resource}")
            if asked.verb == "patch" and asked.resource in self._disputed:
                self._disputed.remove(asked.resource)
                return _status(409, "Conflict", "somebody else was faster")
        return await self._pass_on(request)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._session.request(
            request.method, self._api.url + request.path_qs, headers=headers, data=await request.read() or None
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        return response


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return web.Response(status=code, text=json.dumps({**body, "message": message}), content_type="application/json")
