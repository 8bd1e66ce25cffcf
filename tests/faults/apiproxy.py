"""The proxy in front of the API server: it knows what each request asks for, and does to it what its rules say."""

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from controller.standalone import tls
from tests.faults.asked import Asked, asked
from tests.faults.rules import Answer, Rule

_OWN = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "content-encoding"}
"""Headers that belong to one connection."""


@dataclass(slots=True)
class Seen:
    """One request in the audit."""

    at: float
    """Seconds on the steady clock."""
    asked: Asked
    status: int | str = ""
    """What was answered; a word where a rule did something else."""


class ApiProxy:
    """For one operator. Its loop is one of ``Loop``; rules and audit may be used from anywhere."""

    def __init__(self, who: str, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self.who = who
        self.audit: list[Seen] = []
        self.rules: list[Rule] = []
        self.refuses = False
        """Every connection is broken, new ones too: a network that is cut."""
        self.kubeconfig = folder / "kubeconfig-of-the-proxy"
        self._url: str = cluster["server"]
        self._upstream = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        self._config, self._folder = config, folder
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._server = web.Server(self._handle, access_log=None)
        self._watches: dict[asyncio.Event, tuple[Asked, web.BaseRequest]] = {}
        """Those that are open; each says nothing while its event is cleared."""

    async def start(self) -> None:
        """Listen, and write a kubeconfig that leads here."""
        keys = self._folder / "tls"
        keys.mkdir(exist_ok=True)
        authority = tls.prepare(keys, "127.0.0.1", datetime.now(UTC))
        connector = aiohttp.TCPConnector(ssl=self._upstream, limit=0)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls.server_context(keys))
        await site.start()
        port = self._runner.addresses[0][1]
        self._config["clusters"][0]["cluster"] = {
            "server": f"https://127.0.0.1:{port}",
            "certificate-authority-data": base64.b64encode(authority).decode(),
        }
        self.kubeconfig.write_text(yaml.safe_dump(self._config))

    async def stop(self) -> None:
        """Break what is open and listen no more."""
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    # What a fault does; in the loop of the proxy, where it says so.

    def add(self, rule: Rule) -> Rule:
        self.rules.append(rule)
        return rule

    def cut(self) -> None:
        """Break every connection; in the loop."""
        for connection in tuple(self._server.connections):
            connection.force_close()

    def cut_watches(self) -> None:
        """Break every watch; in the loop."""
        for _, request in tuple(self._watches.values()):
            _abort(request)

    def mute(self) -> None:
        """The watches that are open now say nothing more, and are not closed either; in the loop."""
        for speaks in self._watches:
            speaks.clear()

    def unmute(self) -> None:
        """What they would have said is said now; in the loop."""
        for speaks in self._watches:
            speaks.set()

    # What a check looks at.

    @property
    def watched(self) -> set[str]:
        """The resources on which a watch is open."""
        return {what.resource for what, _ in tuple(self._watches.values())}

    def last_news(self) -> float:
        """When the last change was asked for, besides the Lease; 0 before the first one."""
        return next((seen.at for seen in reversed(tuple(self.audit)) if seen.asked.is_news), 0.0)

    def told(self, count: int = 80) -> str:
        """The end of the audit, for people."""
        lines = [
            f"{seen.at:.3f} {seen.asked.who} {seen.asked.verb} {seen.asked.resource}/{seen.asked.name} "
            f"{seen.asked.subresource} [{seen.asked.step}] -> {seen.status}"
            for seen in self.audit
            if seen.asked.resource != "leases"
        ]
        return "\n".join(lines[-count:])

    # The way of a request.

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        content = await request.read()
        what = asked(self.who, request.method, request.path, request.query, content)
        seen = Seen(time.monotonic(), what)
        self.audit.append(seen)
        exchange = _Exchange(self, request, what, content, seen)
        try:
            if self.refuses:
                return exchange.drop()
            rule = next((rule for rule in tuple(self.rules) if rule.takes(what)), None)
            if rule is None:
                return await exchange.pass_on()
            response = await rule.effect(exchange)
            seen.status = seen.status or response.status
            return response
        except (aiohttp.ClientError, OSError, TimeoutError):
            return exchange.drop()

    async def ask(self, request: web.BaseRequest, content: bytes) -> aiohttp.ClientResponse:
        """Send a request on."""
        assert self._session is not None
        headers = _kept(request.headers)
        return await self._session.request(
            request.method, self._url + request.raw_path, data=content or None, headers=headers, allow_redirects=False
        )

    @contextlib.contextmanager
    def following(self, what: Asked, request: web.BaseRequest) -> Iterator[asyncio.Event]:
        """A watch is open for as long as the block lasts."""
        speaks = asyncio.Event()
        speaks.set()
        self._watches[speaks] = what, request
        try:
            yield speaks
        finally:
            del self._watches[speaks]


class _Exchange:
    """Implements ``rules.Exchange``."""

    def __init__(self, proxy: ApiProxy, request: web.BaseRequest, what: Asked, content: bytes, seen: Seen) -> None:
        self._proxy, self._request, self._what, self._content, self._seen = proxy, request, what, content, seen

    @property
    def asked(self) -> Asked:
        return self._what

    async def forward(self) -> Answer:
        async with await self._proxy.ask(self._request, self._content) as answer:
            content = await answer.read()
            self._seen.status = answer.status
            return Answer(answer.status, _kept(answer.headers), content)

    async def pass_on(self, limit: int | None = None) -> web.StreamResponse:
        if self._what.verb == "watch":
            return await self._follow(limit)
        answer = await self.forward()
        return web.Response(status=answer.status, headers=answer.headers, body=answer.content)

    async def _follow(self, limit: int | None) -> web.StreamResponse:
        async with await self._proxy.ask(self._request, self._content) as answer:
            self._seen.status = answer.status
            response = await self.begin(answer.status, _kept(answer.headers))
            left = limit
            with self._proxy.following(self._what, self._request) as speaks:
                async for data in answer.content.iter_any():
                    await speaks.wait()
                    await response.write(data if left is None else data[:left])
                    if left is not None and (left := left - len(data)) <= 0:
                        return self.drop()
            await response.write_eof()
            return response

    async def begin(self, status: int, headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        if "Content-Length" not in headers:
            response.enable_chunked_encoding()
        await response.prepare(self._request)
        return response

    def drop(self) -> web.StreamResponse:
        self._seen.status = self._seen.status or "dropped"
        _abort(self._request)
        return web.Response(status=502)


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OWN}
