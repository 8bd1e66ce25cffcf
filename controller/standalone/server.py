"""The standalone API server: a cluster in one process, for laptops, tests and single hosts."""

import asyncio
import contextlib
import errno
import fcntl
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from controller.standalone import access, builtin, crds, expiry, schema, tls
from controller.standalone.admission import Options
from controller.standalone.catalogue import Catalogue
from controller.standalone.disk import Disk
from controller.standalone.garbage import Garbage
from controller.standalone.handler import Handler
from controller.standalone.schema import Object
from controller.standalone.statuses import ApiError, StandaloneError
from controller.standalone.store import HISTORY, Event, Store
from controller.standalone.watches import Watches
from controller.standalone.writes import Writer

log = logging.getLogger(__name__)

RENEWAL_SECONDS = 12 * 3600
SHUTDOWN_SECONDS = 2.0
# Longer than clients keep idle connections (Go: 90 s), so that none is closed under a request.
KEEPALIVE_SECONDS = 180.0


class StandaloneServer:
    """Serves the Kubernetes API from `data_dir` on loopback; port 0 takes a free port once and keeps it."""

    def __init__(
        self, data_dir: Path, *, host: str = "127.0.0.1", port: int = 0, crds: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._folder = data_dir
        self._host = _loopback(host)
        self._port = port
        self._crds = crds
        self._closing = contextlib.AsyncExitStack()
        self.url = ""
        self.token = ""
        self.kubeconfig = data_dir / "kubeconfig"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the data directory, install the definitions, listen and write the kubeconfig."""
        async with contextlib.AsyncExitStack() as closing:
            await self._start(closing)
            self._closing = closing.pop_all()

    async def _start(self, closing: contextlib.AsyncExitStack) -> None:
        try:
            self._prepare_folder(closing)
            authority = tls.prepare(self._folder, self._host, datetime.now(UTC))
            self.token = access.token_in(self._folder)
            store = Store(Disk(self._folder / "objects.db", HISTORY))
            await store.open()
            closing.push_async_callback(store.close)
            watches = Watches(store)
            catalogue = Catalogue(builtin.KINDS)
            self._follow_definitions(store, catalogue, watches)
            writer = Writer(store, catalogue)
            await self._install(store, writer)
            garbage = Garbage(store, catalogue, writer)
            garbage.start()
            _run(closing, garbage.run(), "standalone-garbage")
            _run(closing, expiry.run(store, writer), "standalone-expiry")
            await self._listen(closing, Handler(store, catalogue, writer, watches, self.token), watches)
            access.write_kubeconfig(self.kubeconfig, self.url, authority, self.token)
        except OSError as error:
            raise StandaloneError(
                f"cannot use the data directory {self._folder}: {error.strerror or error}; give one that you may "
                "write to, on a disk with free space"
            ) from error

    async def stop(self) -> None:
        """End the watches, finish the writes under way, close the files."""
        await self._closing.aclose()

    def _prepare_folder(self, closing: contextlib.AsyncExitStack) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        closing.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StandaloneError(
                f"the data directory {self._folder} is in use by another server: stop it, or give another directory"
            ) from error

    def _follow_definitions(self, store: Store, catalogue: Catalogue, watches: Watches) -> None:
        for record in store.records(builtin.DEFINITIONS.resource):
            _serve(store, catalogue, record.obj)

        def on_event(event: Event) -> None:
            if event.record.resource != builtin.DEFINITIONS.resource:
                return
            if event.type == "DELETED":
                resource = crds.resource_of(event.record.obj)
                catalogue.withdraw(resource)
                watches.end_all(resource)
            elif event.previous is None or event.previous.obj["spec"] != event.record.obj["spec"]:
                catalogue.withdraw(crds.resource_of(event.record.obj))
                _serve(store, catalogue, event.record.obj)

        store.listeners.append(on_event)

    async def _install(self, store: Store, writer: Writer) -> None:
        try:
            for name in ("default", "kube-system"):
                if store.head("namespaces", "", name) is None:
                    body: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                    await writer.create(builtin.NAMESPACES, "", body, Options(manager="agentpool-standalone"))
            for definition in self._crds:
                await writer.install(definition)
        except ApiError as error:
            raise StandaloneError(f"cannot prepare {self._folder}: {error.message}") from error

    async def _listen(self, closing: contextlib.AsyncExitStack, handler: Handler, watches: Watches) -> None:
        context = tls.server_context(self._folder)
        # A watcher that hangs up must not linger until the next event; a write goes on without its waiter.
        server = web.Server(
            handler.handle,
            access_log=None,
            logger=_quiet_log(),
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        # Ended first, so that the runner does not wait for streams that never end by themselves.
        closing.callback(watches.end_all)
        listener = self._bind()
        await web.SockSite(runner, listener, ssl_context=context).start()
        port = listener.getsockname()[1]
        tls.write_private(self._folder / "port", str(port).encode())
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"https://{shown}:{port}"
        _run(closing, self._renew(context), "standalone-renewal")

    def _bind(self) -> socket.socket:
        port = self._port or self._remembered_port()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            why = (
                "is in use by another program"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used: {error.strerror}"
            )
            remedy = "stop that program, or give another port"
            if not self._port and port:
                remedy += (
                    f" (port {port} is remembered in {self._folder / 'port'}: remove that file to choose a new one)"
                )
            raise StandaloneError(f"port {port} on {self._host} {why}: {remedy}") from error
        return listener

    def _remembered_port(self) -> int:
        try:
            port = int((self._folder / "port").read_text())
        except (OSError, ValueError):
            return 0
        return port if 0 < port < 65536 else 0

    async def _renew(self, context: ssl.SSLContext) -> None:
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            try:
                authority = tls.prepare(self._folder, self._host, datetime.now(UTC))
                context.load_cert_chain(self._folder / "server.crt", self._folder / "server.key")
                access.write_kubeconfig(self.kubeconfig, self.url, authority, self.token)
            except OSError as error:
                log.warning("the server certificate was not renewed: %s", error)


def _quiet_log() -> logging.Logger:
    # What aiohttp itself would log are clients' protocol errors, each with a traceback; the handler logs ours.
    quiet = logging.getLogger(f"{__name__}.http")
    quiet.setLevel(logging.CRITICAL)
    return quiet


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise StandaloneError(
        f"the standalone server listens on loopback only, not on {host!r}: use 127.0.0.1, and a Kubernetes cluster "
        "for anything that others should reach"
    )


def _run(closing: contextlib.AsyncExitStack, work: Any, name: str) -> None:
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    closing.push_async_callback(end)


def _serve(store: Store, catalogue: Catalogue, definition: Object) -> None:
    """Serve a definition's kinds, and show what is stored through their schema."""
    kinds = crds.kinds_of(definition)
    catalogue.serve(kinds)
    stored = catalogue.stored(crds.resource_of(definition))
    if stored is not None:
        shape = stored.schema
        store.replace_in_memory(stored.resource, lambda obj: schema.default(schema.prune(obj, shape, "", []), shape))
