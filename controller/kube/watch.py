"""The informer: kopf watches the three kinds and hands every event on. It writes nothing and decides nothing."""

import asyncio
import itertools
import logging
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import aiohttp
import kopf
from kopf._cogs.clients.errors import APIError
from kopf._cogs.clients.watching import WatchingError

from controller import metrics
from controller.errors import Transient
from controller.kube.answers import NOT_ACCEPTED
from controller.kube.client import misfit, parse
from controller.kube.connection import Connection
from controller.kube.permissions import require
from controller.model import GROUP, KINDS, VERSION, Resource
from controller.model.meta import version_in

log = logging.getLogger(__name__)

Deliver = Callable[[Resource, bool], None]
"""Takes an object and whether it was deleted."""
IsNews = Callable[[str, int, bool], bool]
"""Whether an event on that uid, at that version, deleted or not, can teach anything."""
GoesOn = Callable[[type[Resource], str, int], None]
"""Takes a kind, a path under which it is watched, and the version that the watch goes on from."""
SILENT_SECONDS = 120.0
"""A watch on which nothing arrives for this long, not even a bookmark, is taken for dead and opened anew."""

_LISTS = {kind.plural: kind for kind in KINDS}
"""How the paths end under which our kinds are listed and watched."""
_WATCHER = "watcher for "
"""How the names of kopf's tasks begin that hold a watch."""


class _NoDiffs(kopf.DiffBaseStorage):
    """Kopf compares every object with what it last handled; we have no handlers for which that would matter."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is ever stored on an object."""


class _NoProgress(kopf.StatusProgressStorage):
    """Nor is there progress of handlers to remember."""

    def clear(self, *, essence: Any) -> Any:
        return essence


class _Backoffs:
    """Endless, and new for every request: when a finite list runs out, kopf gives the watch up."""

    def __iter__(self) -> Any:
        return itertools.chain((0.1, 0.2, 0.5, 1, 2, 5), itertools.repeat(10))


class _Everything(Collection[Any]):
    """All tasks: at its end kopf waits for every task that is new since its start, ours too, and cancels them."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Watch:
    """Follows all three kinds until it is stopped."""

    def __init__(
        self,
        connection: Connection,
        namespaces: Sequence[str],
        deliver: Deliver,
        is_news: IsNews,
        interrupted: asyncio.Event,
        relisted: asyncio.Event,
        goes_on: GoesOn,
    ) -> None:
        self._connection = connection
        self._namespaces = tuple(namespaces)
        self._deliver = deliver
        self._is_news = is_news
        self._interrupted = interrupted
        self._relisted = relisted
        self._goes_on = goes_on
        self._listed: set[str] = set()
        """The paths of all lists that kopf has got."""
        self._ready = asyncio.Event()

    async def run(self, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Watch until ``stop`` is set. ``ready`` is set once everything was listed.

        Of what happens from then on the watches tell. Nobody tells of what is deleted between an earlier fill of a view
        and these lists: so fill it after that.

        SIGTERM and SIGINT set ``interrupted``. ``relisted`` is set when what happened for a while was in no watch:
        deletions may have been missed. ``Transient`` when the watches end by themselves.
        """
        self._ready = ready
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=stop,
        )
        _take_signals_back(self._interrupted)
        try:
            await kopf.run_tasks(tasks, ignored=_Everything())
        except kopf.LoginError:
            raise Transient(NOT_ACCEPTED) from None
        except (APIError, WatchingError) as error:
            # Kopf gives a watch up that is refused, as with 410 for a version that is too old, or 404 for a moment.
            raise Transient(f"the API server ended a watch: {error.args[0] if error.args else error}") from None
        finally:
            await _end_watchers()
        if not stop.is_set():
            raise Transient("the watches ended by themselves")

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry, retries=1)(self._login)
        for kind in KINDS:
            require("list", kind.plural)
            require("watch", kind.plural)
            handler = self._handler(kind)
            kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=kind.plural, when=self._tells_news)(
                handler
            )
        return registry

    def _tells_news(self, event: Any, **_: Any) -> bool:
        """Seven of ten events repeat our own writes: dropped here, they cost half as much."""
        meta = event["object"]["metadata"]
        version = version_in(str(meta.get("resourceVersion", "")))
        return version is None or self._is_news(meta.get("uid", ""), version, event["type"] == "DELETED")

    def _handler(self, kind: type[Resource]) -> Any:
        counter = metrics.WATCH_EVENTS.labels(kind.plural)

        # A coroutine, since kopf would run a plain function in a thread.
        async def handle(event: Any, **_: Any) -> None:
            counter.inc()
            thing = parse(kind, event["object"])
            if thing is None:
                log.error("%s", misfit(kind, event["object"]))
                return
            self._deliver(thing, event["type"] == "DELETED")

        return handle

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        authorization = await self._connection.authorization()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._connection.tls or True),
            headers={"Authorization": authorization} if authorization is not None else {},
            middlewares=(self._notice_lists, self._notice_watches),
        )
        return kopf.AiohttpSession(server=self._connection.server, aiohttp_session=session)

    async def _notice_lists(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """After a 410 in a watch kopf lists anew, and tells nobody of what is not there any more."""
        response = await handler(request)
        path, query = request.url.path, request.url.query
        if response.ok and request.url.name in _LISTS and "watch" not in query and "continue" not in query:
            if path in self._listed:
                self._relisted.set()
            self._listed.add(path)
            if len(self._listed) == len(KINDS) * max(1, len(set(self._namespaces))):
                self._ready.set()
        return response

    async def _notice_watches(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Before the answer: a server that is not as far yet as the watch refuses it, or lets it wait."""
        kind, version = _LISTS.get(request.url.name), version_in(request.url.query.get("resourceVersion", ""))
        if kind is not None and version is not None and "watch" in request.url.query:
            self._goes_on(kind, request.url.path, version)
        return await handler(request)


async def _end_watchers() -> None:
    """When one watch fails for good kopf leaves the others behind, and they go on."""
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith(_WATCHER)]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)


def _take_signals_back(interrupted: asyncio.Event) -> None:
    """Kopf has put its own handlers in place of the program's; they break when a signal comes twice."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, interrupted.set)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.inactivity_timeout = SILENT_SECONDS
    settings.watching.reconnect_backoff = 0.1
    settings.process.ultimate_exiting_timeout = None
    return settings
