"""The provider: opens environments of Railway, and owns what their connections share."""

import asyncio
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random, SystemRandom
from types import MappingProxyType

import httpx

from controller import metrics
from controller.backends.railway.address import Address
from controller.backends.railway.api import EnvironmentApi
from controller.backends.railway.backend import RailwayBackend
from controller.backends.railway.budget import PLANS, SECOND, Budget
from controller.backends.railway.client import RailwayClient, Token
from controller.backends.railway.names import Names
from controller.backends.railway.picture import Picture
from controller.errors import Missing, Refused
from controller.model import RailwayBackend as Options
from controller.ports import Pace, Place

log = logging.getLogger(__name__)

PACES: Mapping[str, Pace] = MappingProxyType({
    "Free": Pace(slow=180.0, fast=90.0),
    "Hobby": Pace(slow=60.0, fast=10.0),
    "Pro": Pace(slow=30.0, fast=2.0),
})  # fmt: skip
"""How often an environment is read: what a plan allows in an hour is for changes, too."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Time and chance."""

    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Random = field(default_factory=SystemRandom)
    settle: float = SECOND
    """Seconds that a budget rests at first, since whoever ran before may have used up the second."""


class RailwayProvider:
    """Budgets are shared by token, and commits go one after the other by environment, whoever asks for them."""

    def __init__(
        self,
        address: Address,
        installation: str,
        http: httpx.AsyncClient,
        *,
        surroundings: Surroundings | None = None,
        paces: Mapping[str, Pace] = PACES,
    ) -> None:
        self._address = address
        self._installation = installation
        self._http = http
        self._around = surroundings or Surroundings()
        self._paces = paces
        self._budgets: dict[bytes, Budget] = {}
        self._commits: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._open: dict[str, tuple[Options, RailwayBackend]] = {}

    def connect(self, place: Place) -> RailwayBackend:
        """The environment that the place's options name. Nothing is asked of Railway yet."""
        options = place.spec.railway
        if options is None:
            raise Refused("UnknownBackend", f"the place {place.name} is not of Railway")
        around, names = self._around, Names(self._installation, options.environment_id)
        api = EnvironmentApi(
            _Way(self, place, options).client,
            options.project_id,
            options.environment_id,
            self._commits[options.environment_id],
        )
        picture = Picture(
            api,
            names,
            self._installation,
            options.environment_id,
            self._address.url_of,
            around.clock,
            around.now,
            self._address.drift_seconds,
        )
        backend = RailwayBackend(
            api,
            picture,
            names,
            installation=self._installation,
            pace=self._paces[options.plan],
            clock=around.clock,
            sleep=around.sleep,
            closed=lambda: self._forget(place.name, backend),
        )
        self._open[place.name] = options, backend
        return backend

    def hinted(self, project_id: str | None, environment_id: str | None, service_id: str | None) -> None:
        """Something happened to a service: whoever has its environment open looks soon."""
        for options, backend in self._open.values():
            if environment_id == options.environment_id or (
                environment_id is None and project_id == options.project_id
            ):
                backend.hinted()

    async def close(self) -> None:
        """Close the connections to Railway."""
        await self._http.aclose()

    def _forget(self, place: str, backend: RailwayBackend) -> None:
        if place in self._open and self._open[place][1] is backend:
            del self._open[place]

    async def open_client(self, place: Place, options: Options, token: Callable[[], Awaitable[Token]]) -> RailwayClient:
        """A client with the budget of its token."""
        value = (await token()).value
        digest = hashlib.sha256(value.encode()).digest()
        if digest not in self._budgets:
            around = self._around
            self._budgets[digest] = Budget(
                PLANS[options.plan], clock=around.clock, sleep=around.sleep, random=around.random, settle=around.settle
            )
        budget = self._budgets[digest]
        budget.restrict(PLANS[options.plan])

        def observe(operation: str, outcome: str) -> None:
            metrics.RAILWAY_REQUESTS.labels(operation, outcome).inc()
            metrics.RAILWAY_BUDGET_REMAINING.labels(place.name).set(budget.remaining)

        return RailwayClient(
            self._address.api,
            token,
            budget,
            self._http,
            sleep=self._around.sleep,
            random=self._around.random,
            observe=observe,
        )


class _Way:
    """The client of one place, opened when it is first needed, since its token is read then."""

    def __init__(self, provider: RailwayProvider, place: Place, options: Options) -> None:
        self._provider = provider
        self._place = place
        self._options = options
        self._client: RailwayClient | None = None
        self._opening = asyncio.Lock()

    async def client(self) -> RailwayClient:
        """The client. ``Refused`` when there is no token."""
        async with self._opening:
            if self._client is None:
                self._client = await self._provider.open_client(self._place, self._options, self._token)
            return self._client

    async def _token(self) -> Token:
        try:
            value = await self._place.secret(self._options.token_secret_ref)
        except Missing as error:
            raise Refused("TokenNotFound", f"there is no token for Railway: {error}") from None
        return Token(self._options.token_type, value)
