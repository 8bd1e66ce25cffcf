"""The whole of it, in this process."""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.railway import control as control_module
from tests.railway.access import Access, TokenKind
from tests.railway.api import Api
from tests.railway.commits import Commits
from tests.railway.containers import Containers
from tests.railway.control import Control
from tests.railway.counts import Counts
from tests.railway.deployments import Deployments
from tests.railway.edge import PREFIX as EDGE_PREFIX
from tests.railway.edge import Edge
from tests.railway.faults import Faults
from tests.railway.life import Ground
from tests.railway.limits import Limits
from tests.railway.mutations import Mutations
from tests.railway.programs import Catalogue
from tests.railway.queries import Queries
from tests.railway.records import Environment
from tests.railway.server import PATH, Server
from tests.railway.settings import Settings
from tests.railway.views import Views
from tests.railway.webhooks import Webhooks
from tests.railway.world import World

ENVIRONMENTS = ("dev", "staging", "production")
LARGEST = 64 << 20


class Twin:
    """A Railway on loopback with one project, while it is entered.

    The same seed gives the same ids, tokens, names and faults for the same requests.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        settings: Settings | None = None,
        catalogue: Catalogue | None = None,
        state_dir: Path | None = None,
        port: int = 0,
        environments: Iterable[str] = ENVIRONMENTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or Settings()
        self.faults = Faults(seed)
        self.counts = Counts()
        self.world = World(seed, self.settings, self.faults, self.counts, clock)
        self.project = self.world.add_project("agents", self.world.new_id())
        self.environments: Mapping[str, Environment] = {
            name: self.world.add_environment(self.project, name) for name in environments
        }
        self.access = Access(seed, self.world, self.settings)
        self.token = self.issue("Account")
        """Of kind Account: it may do all."""
        self.project_tokens = {name: self.issue("Project", name) for name in self.environments}
        """By name of the environment for which each is."""
        self.limits = Limits(self.settings, clock)
        self._seed = seed
        self._port = port
        self._clock = clock
        self._state_dir = state_dir
        self._catalogue = catalogue or Catalogue()
        self._open = AsyncExitStack()

    @property
    def port(self) -> int:
        """Where everything listens, on loopback."""
        return self._port

    @property
    def url(self) -> str:
        """The API's endpoint: RAILWAY_API_URL."""
        return f"http://127.0.0.1:{self._port}{PATH}"

    @property
    def edge_url(self) -> str:
        """How a domain becomes a URL: RAILWAY_EDGE_URL. It needs no resolver that knows the domains."""
        return f"http://127.0.0.1:{self._port}{EDGE_PREFIX}{{domain}}"

    @property
    def edge_host_url(self) -> str:
        """The same by the name of the host, for programs that take all below localhost for loopback."""
        return f"http://{{domain}}:{self._port}"

    @property
    def control_url(self) -> str:
        """Of the control API."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def project_id(self) -> str:
        return self.project.id

    def issue(self, kind: TokenKind, environment: str | None = None, *, read_only: bool = False) -> str:
        """A new token; one of kind Project is for one environment."""
        home = None if environment is None else self.environments[environment]
        workspace_id = self.project.workspace_id
        return self.access.issue(kind, workspace_id=workspace_id, environment=home, read_only=read_only).value

    def describe(self) -> dict[str, Any]:
        """What a client needs to know, as JSON."""
        return {
            "url": self.url,
            "edge_url": self.edge_url,
            "edge_host_url": self.edge_host_url,
            "control_url": self.control_url,
            "token": self.token,
            "project_tokens": self.project_tokens,
            "project_id": self.project_id,
            "environments": {name: each.id for name, each in self.environments.items()},
        }

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            root = self._state_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="railway-")))
            containers = Containers(root, self._clock)
            self.root = containers.root
            self.root.mkdir(parents=True, exist_ok=True)
            stack.push_async_callback(containers.close)
            webhooks = Webhooks(self.settings, self.faults, self.counts, self._clock)
            webhooks.open()
            stack.push_async_callback(webhooks.close)
            self.deployments = Deployments(
                Ground(self.world, self.settings, self.faults, self.counts, self._catalogue, containers, webhooks)
            )
            self.deployments.open()
            stack.push_async_callback(self.deployments.close)
            self._edge = Edge(self.world, self.deployments, self.settings, self.faults, self.counts)
            self._edge.open()
            stack.push_async_callback(self._edge.close)
            self.control = Control(self.world, self.access, self.deployments, self.settings, self.faults, self.counts)
            self.commits = Commits(self.world, self.deployments, self.settings, self.counts)
            self._server = self._make_server()
            await self._listen(stack)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def _make_server(self) -> Server:
        views = Views(self.world, self.settings)
        queries = Queries(self.world, self.access, views)
        mutations = Mutations(
            self.world, self.access, views, self.commits, self.deployments, self.settings, self.faults, self.counts
        )
        api = Api(queries, mutations)
        return Server(self._seed, api, self.access, self.limits, self.settings, self.faults, self.counts, self._clock)

    async def _listen(self, stack: AsyncExitStack) -> None:
        app = web.Application(client_max_size=LARGEST)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._port = runner.addresses[0][1]

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        if (domain := Edge.domain_of(request)) is not None:
            return await self._edge.handle(request, domain)
        if request.path == PATH and request.method == "POST":
            return await self._server.handle(request)
        if request.path.startswith(control_module.PREFIX):
            return await self.control.handle(request)
        return web.Response(status=404, text="Not Found")
