"""The way to Railway: one GraphQL operation a request, and a certain word on what became of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

import httpx
import orjson

from controller.backends.railway import ratelimit
from controller.backends.railway.answers import Answer, judge
from controller.backends.railway.budget import Budget, Priority
from controller.backends.railway.documents import DOCUMENTS, Document
from controller.backends.railway.failures import AGAIN_SECONDS, Rejected, Throttled, Unanswered, one_line, sort
from controller.errors import AgentpoolError, Barred, Misconfigured, Transient

CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 30.0
IDLE_SECONDS = 15.0
"""How long a connection is kept that nobody uses: others close theirs later, so none is closed under a request."""
LARGEST_ANSWER = 32 << 20
PATIENCE_SECONDS = 30.0
"""How long a request waits for its turn."""
TRIES = 4
"""How often a query is sent at most."""
FIRST_BACKOFF_SECONDS = 0.5

Observe = Callable[[str, str], None]
"""Hears of each request: the operation, and ok, rejected, throttled, unanswered or unreachable."""


@dataclass(frozen=True, slots=True)
class Token:
    """What opens Railway."""

    kind: Literal["Project", "Account", "Workspace"]
    value: str = field(repr=False)


def open_http() -> httpx.AsyncClient:
    """The connections for a ``RailwayClient``, through the proxies that the environment names."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=IDLE_SECONDS),
        follow_redirects=False,
        trust_env=True,
    )


class RailwayClient:
    """Asks Railway with one token.

    The token is read when it is first needed, and again when it is refused. Every method also raises what reading it
    raises, and ``Throttled`` without having sent anything while the budget is used up.
    """

    def __init__(
        self,
        endpoint: str,
        token: Callable[[], Awaitable[Token]],
        budget: Budget,
        http: httpx.AsyncClient,
        *,
        sleep: Callable[[float], Awaitable[None]],
        random: Random,
        observe: Observe = lambda operation, outcome: None,
        seconds: float = TOTAL_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """``seconds``: how long an answer may take. ``Misconfigured`` for an endpoint that is no address."""
        self._url = _address(endpoint)
        self._read_token = token
        self._budget = budget
        self._http = http
        self._sleep = sleep
        self._random = random
        self._observe = observe
        self._seconds = seconds
        self._patience = patience
        self._token: Token | None = None
        self._renewing = asyncio.Lock()

    async def query(
        self, name: str, variables: Mapping[str, Any], priority: Priority = Priority.READ
    ) -> dict[str, Any]:
        """The ``data`` of a query; variables that are ``None`` are left out.

        What may pass is tried again a few times. ``Rejected``, also where only a part of the data is there;
        ``Unanswered``, ``Throttled`` or another ``Transient``.
        """
        document = _document(name, mutation=False)
        for tries in range(1, TRIES + 1):
            outcome = await self._ask(document, variables, priority)
            if isinstance(outcome, dict):
                return outcome
            passing = sort(outcome, name) if isinstance(outcome, Rejected) else outcome
            wish = passing.retry_after or 0.0 if isinstance(passing, Transient) else None
            if tries == TRIES or wish is None or wish > self._patience:
                raise outcome
            pause = FIRST_BACKOFF_SECONDS * 2.0 ** (tries - 1) * (1 + self._random.random())
            await self._sleep(max(pause, wish))
        raise AssertionError

    async def mutate(self, name: str, variables: Mapping[str, Any], priority: Priority) -> dict[str, Any]:
        """The ``data`` of a mutation, which is sent once; variables that are ``None`` are left out.

        ``Unanswered``: it may have been carried out, now or a little later. ``Rejected``: it may have been carried out
        nevertheless. ``Throttled`` and any other ``Transient``: it was not.
        """
        document = _document(name, mutation=True)
        self._budget.require_open(name)
        outcome = await self._ask(document, variables, priority)
        if isinstance(outcome, dict):
            self._budget.succeed(name)
            return outcome
        if isinstance(outcome, Rejected) and outcome.too_quick:
            outcome.retry_after = self._budget.throttle(name, outcome.wish)
        raise outcome

    async def _ask(
        self, document: Document, variables: Mapping[str, Any], priority: Priority
    ) -> dict[str, Any] | AgentpoolError:
        """Send once, and once more with another token if this one is refused."""
        given = {name: value for name, value in variables.items() if value is not None}
        body = orjson.dumps({"query": document.text, "operationName": document.name, "variables": given})
        token = self._token or await self._renewed(None)
        outcome = await self._send(document.name, body, token, priority)
        if isinstance(outcome, Rejected) and outcome.not_authorized and (outcome.untouched or not document.mutation):
            other = await self._renewed(token)
            if other != token:
                outcome = await self._send(document.name, body, other, priority)
        return outcome

    async def _send(
        self, operation: str, body: bytes, token: Token, priority: Priority
    ) -> dict[str, Any] | AgentpoolError:
        async with self._budget.turn(priority, patience=self._patience):
            answer = await self._exchange(body, token)
            outcome = self._understood(answer, token) if isinstance(answer, Answer) else answer
        self._observe(operation, _name_of(outcome))
        return outcome

    def _understood(self, answer: Answer, token: Token) -> dict[str, Any] | AgentpoolError:
        told = ratelimit.read(answer.headers)
        if answer.status == 429:
            return Throttled("Railway refuses more requests for now (HTTP 429)", self._budget.refuse(told))
        self._budget.learn(told)
        outcome = judge(answer, token.value)
        if isinstance(outcome, Unanswered):
            outcome.retry_after = told.retry_after
        return outcome

    async def _exchange(self, body: bytes, token: Token) -> Answer | Transient:
        # Errors are returned: those of httpx hold the request with the token, and would travel along if raised here.
        request = self._http.build_request("POST", self._url, content=body, headers=_headers(token))
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._http.send(request, stream=True, follow_redirects=False)
                try:
                    return await _whole(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            return Unanswered(f"Railway did not answer within {self._seconds:g} s")
        except httpx.HTTPError as error:
            return _explained(error, token.value)

    async def _renewed(self, refused: Token | None) -> Token:
        """The token as it is now, unless somebody else has read it since."""
        async with self._renewing:
            if self._token is None or self._token == refused:
                self._token = _checked(await self._read_token())
            return self._token


async def _whole(response: httpx.Response) -> Answer | Transient:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            return Unanswered(f"Railway's answer is larger than {LARGEST_ANSWER >> 20} MiB")
    return Answer(response.status_code, response.headers, bytes(body))


def _explained(error: httpx.HTTPError, token: str) -> Transient:
    match error:
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return Transient("Railway cannot be reached: there was no connection in time")
        case httpx.ProxyError():
            return Transient(f"the proxy in HTTPS_PROXY does not let through to Railway: {one_line(str(error), token)}")
        case httpx.ConnectError() | httpx.UnsupportedProtocol():
            return Transient(f"Railway cannot be reached: {one_line(str(error), token) or 'no connection'}")
        case httpx.TimeoutException():
            return Unanswered("Railway fell silent before its answer was complete")
        case httpx.DecodingError():
            return Unanswered("Railway's answer is damaged: it cannot be decompressed")
        case _:
            return Unanswered("the connection to Railway broke off before its answer was complete")


def _document(name: str, *, mutation: bool) -> Document:
    document = DOCUMENTS[name]
    if document.mutation is not mutation:
        raise ValueError(name)
    return document


def _address(endpoint: str) -> httpx.URL:
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
        raise Misconfigured("RAILWAY_API_URL is no http or https address without credentials: correct it, or unset it")
    # Railway's edge lets those who do not say who they are ask very little.
    return url.copy_merge_params({"source": "agentpool"})


def _headers(token: Token) -> dict[str, str]:
    own = (
        {"Project-Access-Token": token.value} if token.kind == "Project" else {"Authorization": f"Bearer {token.value}"}
    )
    return own | {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": "agentpool",
    }


def _checked(token: Token) -> Token:
    value = token.value.strip()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise Barred(
            "NotAuthorized",
            "what the Secret of tokenSecretRef holds is no token: put a token of Railway there, without anything else",
            AGAIN_SECONDS,
        )
    return Token(token.kind, value)


def _name_of(outcome: dict[str, Any] | AgentpoolError) -> str:
    match outcome:
        case dict():
            return "ok"
        case Throttled():
            return "throttled"
        case Unanswered():
            return "unanswered"
        case Transient():
            return "unreachable"
        case _:
            return "rejected"
