"""The way to Railway over real sockets, to a server that misbehaves in every way."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from random import Random
from typing import Any

import pytest
from aiohttp import web

from controller.backends.railway import client as module
from controller.backends.railway.budget import Budget, Limits, Priority
from controller.backends.railway.client import RailwayClient, Token, open_http
from controller.backends.railway.failures import Rejected, Throttled, Unanswered
from controller.backends.railway.ratelimit import RateLimit
from controller.errors import AgentpoolError, Barred, Misconfigured, Missing, Transient

SECRET = "3f2a9c10-57f4-4f6e-9f3b-0123456789ab"
ROTATED = "99999999-57f4-4f6e-9f3b-ba9876543210"
SERVICE = {"service": {"id": "s-1", "name": "ap-1", "projectId": "p-1", "deletedAt": None}}
CREATED = {"serviceCreate": {"id": "s-1", "name": "ap-1"}}
ORDER = {"input": {"projectId": "p-1", "name": "ap-1"}}

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Server:
    """Gives the replies that it was told to give, one after the other, the last one for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[web.Request] = []
        self.bodies: list[dict[str, Any]] = []
        self.url = ""
        self.asked = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.asked.set()
        self.bodies.append(json.loads(await request.read()))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return await reply(request)

    def answers(self, *replies: Reply) -> None:
        self.replies = list(replies)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    it = Server()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", it.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}/graphql/v2"
    try:
        yield it
    finally:
        await runner.cleanup()


class World:
    """A client with everything around it."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.budget = Budget(Limits(1000, 1000), clock=self.clock, sleep=self.clock.sleep, random=Random(1), settle=0.0)
        # As after a first answer: requests need not wait for each other.
        self.budget.learn(RateLimit())
        self.http = open_http()
        self.tokens: list[Token | AgentpoolError] = [Token("Project", SECRET)]
        self.reads = 0
        self.seen: list[tuple[str, str]] = []
        self.client = self.another(url)

    def another(self, url: str, seconds: float = 5.0) -> RailwayClient:
        return RailwayClient(
            url,
            self.token,
            self.budget,
            self.http,
            sleep=self.clock.sleep,
            random=Random(1),
            observe=lambda operation, outcome: self.seen.append((operation, outcome)),
            seconds=seconds,
        )

    async def token(self) -> Token:
        """As a Secret gives it; each later one stays from then on."""
        self.reads += 1
        told = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        if isinstance(told, AgentpoolError):
            raise told
        return told

    async def ask(self) -> dict[str, Any]:
        return await self.client.query("Service", {"id": "s-1"})

    async def create(self) -> dict[str, Any]:
        return await self.client.mutate("ServiceCreate", ORDER, Priority.CREATE)


@pytest.fixture
async def world(server: Server) -> AsyncIterator[World]:
    it = World(server.url)
    try:
        yield it
    finally:
        await it.http.aclose()


def says(told: Any, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Reply:
    async def reply(request: web.Request) -> web.StreamResponse:
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        return web.Response(status=status, body=body, headers=headers)

    return reply


def fails(message: str, *, status: int = 200, data: Any = None, **more: Any) -> Reply:
    code = {"extensions": {"code": "INTERNAL_SERVER_ERROR"}}
    return says({"errors": [{"message": message} | code | more], "data": data}, status=status)


GOOD = says({"data": SERVICE})
MADE = says({"data": CREATED})
NOT_AUTHORIZED = fails("Not Authorized")
LOST = says({"errors": [{"message": "Problem processing request"}]})


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def is_silent(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def stops_in_the_middle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"data":')
    assert request.transport is not None
    request.transport.close()
    return response


async def is_silent_in_the_middle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"data":')
    await asyncio.sleep(60)
    return response


UNCERTAIN = {
    "hangs up": hangs_up,
    "stops in the middle": stops_in_the_middle,
    "a page with HTTP 502": says(b"<html>Bad Gateway</html>", status=502),
    "JSON with HTTP 500": says({"errors": [{"message": "Internal"}]}, status=500),
    "data with HTTP 503": says({"data": CREATED | SERVICE}, status=503),
    "HTTP 408": says(b"", status=408),
    "HTTP 404": says(b"Application not found", status=404),
    "lost inside": LOST,
    "lost inside with HTTP 500": fails("Problem processing request", status=500),
    "a redirect": says(b"", status=307, headers={"Location": "/elsewhere"}),
    "a redirect with data": says({"data": CREATED | SERVICE}, {"Location": "/elsewhere"}, status=303),
    "data with HTTP 404": says({"data": CREATED | SERVICE}, status=404),
    "a page with HTTP 200": says(b"<html>Hello</html>"),
    "half a JSON": says(b'{"data": {"service": {'),
    "nothing": says(b""),
    "a list": says([{"data": SERVICE}]),
    "no data": says({}),
    "null": says({"data": None}),
    "other data": says({"data": "fine"}),
    "no UTF-8": says(b'{"data": {"a": "\xff"}}'),
    "no gzip": says(b"not compressed", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("way", UNCERTAIN)
async def test_a_mutation_without_a_certain_answer_is_unanswered_and_was_sent_once(
    server: Server, world: World, way: str
) -> None:
    server.answers(UNCERTAIN[way], MADE)
    with pytest.raises(Unanswered):
        await world.create()
    assert len(server.requests) == 1
    assert world.seen == [("ServiceCreate", "unanswered")]


@pytest.mark.parametrize("way", UNCERTAIN)
async def test_a_query_without_a_certain_answer_is_asked_again(server: Server, world: World, way: str) -> None:
    server.answers(UNCERTAIN[way], UNCERTAIN[way], GOOD)
    assert await world.ask() == SERVICE
    assert [outcome for _, outcome in world.seen] == ["unanswered", "unanswered", "ok"]
    first, second = world.clock.slept
    assert 0.5 <= first <= 1
    assert 1 <= second <= 2


async def test_a_query_gives_up_after_a_few_tries(server: Server, world: World) -> None:
    server.answers(UNCERTAIN["a page with HTTP 502"])
    with pytest.raises(Unanswered, match=r"Railway failed \(HTTP 502\)"):
        await world.ask()
    assert len(server.requests) == module.TRIES


@pytest.mark.parametrize("reply", [is_silent, is_silent_in_the_middle])
async def test_silence_ends(server: Server, world: World, reply: Reply) -> None:
    server.answers(reply)
    client = world.another(server.url, seconds=0.2)
    with pytest.raises(Unanswered, match=r"within 0\.2 s"):
        await client.mutate("ServiceCreate", ORDER, Priority.CREATE)
    assert len(server.requests) == 1


async def test_an_answer_that_is_too_large_is_not_read_on(
    server: Server, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER", 1 << 20)
    bomb = gzip.compress(b" " * (8 << 20))
    server.answers(says(bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(Unanswered, match="larger than 1 MiB"):
        await world.create()


async def test_a_connection_that_was_closed_meanwhile_sends_no_mutation_twice(server: Server, world: World) -> None:
    async def and_closes(request: web.Request) -> web.StreamResponse:
        response = await MADE(request)
        await response.prepare(request)
        await response.write_eof()
        assert request.transport is not None
        request.transport.close()
        return response

    server.answers(and_closes)
    for number in range(1, 20):
        try:
            await world.create()
        except Unanswered:
            assert len(server.requests) <= number
            return
        assert len(server.requests) == number


async def test_where_nobody_listens_nothing_was_done(server: Server, world: World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        client = world.another(f"http://127.0.0.1:{closed.getsockname()[1]}/graphql/v2")
        with pytest.raises(Transient, match="Railway cannot be reached") as caught:
            await client.mutate("ServiceCreate", ORDER, Priority.CREATE)
    assert not isinstance(caught.value, Unanswered | Throttled)
    assert world.seen == [("ServiceCreate", "unreachable")]


async def test_without_tls_on_the_other_side_nothing_was_done(server: Server, world: World) -> None:
    client = world.another(server.url.replace("http:", "https:"))
    with pytest.raises(Transient, match="Railway cannot be reached") as caught:
        await client.mutate("ServiceCreate", ORDER, Priority.CREATE)
    assert not isinstance(caught.value, Unanswered)
    assert server.requests == []


async def test_a_request_says_who_asks_for_what(server: Server, world: World) -> None:
    server.answers(GOOD)
    assert await world.client.query("Service", {"id": "s-1", "after": None}) == SERVICE
    (request,), (body,) = server.requests, server.bodies
    assert request.method == "POST"
    assert request.path_qs == "/graphql/v2?source=agentpool"
    assert request.headers["Project-Access-Token"] == SECRET
    assert "Authorization" not in request.headers
    assert request.headers["Accept-Encoding"] == "gzip"
    assert request.headers["Content-Type"] == "application/json"
    assert (body["operationName"], body["variables"]) == ("Service", {"id": "s-1"})
    assert body["query"].startswith("query Service(")


@pytest.mark.parametrize("kind", ["Account", "Workspace"])
async def test_other_tokens_are_bearers(server: Server, world: World, kind: Any) -> None:
    world.tokens = [Token(kind, f" {SECRET}\n")]
    server.answers(GOOD)
    await world.ask()
    assert server.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert "Project-Access-Token" not in server.requests[0].headers


async def test_what_the_address_asks_for_already_is_kept(server: Server, world: World) -> None:
    server.answers(GOOD)
    await world.another(server.url + "?a=1&source=me").query("Service", {"id": "s-1"})
    assert dict(server.requests[0].query) == {"a": "1", "source": "agentpool"}


async def test_a_compressed_answer_is_read_and_its_type_does_not_matter(server: Server, world: World) -> None:
    body = gzip.compress(json.dumps({"data": SERVICE}).encode())
    server.answers(says(body, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"}))
    assert await world.ask() == SERVICE


async def test_an_error_is_told_with_all_that_came_with_it(server: Server, world: World) -> None:
    server.answers(fails("Service not found", path=["service"], traceId="t-1"))
    with pytest.raises(Rejected, match=r"^Service not found$") as caught:
        await world.ask()
    error = caught.value
    assert (error.code, error.path, error.trace_id) == ("INTERNAL_SERVER_ERROR", ("service",), "t-1")
    assert (error.status, error.partial) == (200, False)
    assert len(server.requests) == 1
    assert world.seen == [("Service", "rejected")]


async def test_a_part_of_the_data_is_no_answer(server: Server, world: World) -> None:
    server.answers(fails("Service not found", data=SERVICE))
    with pytest.raises(Rejected) as caught:
        await world.ask()
    assert caught.value.partial


async def test_an_error_in_an_odd_shape_is_one_nevertheless(server: Server, world: World) -> None:
    odds: tuple[Any, ...] = ({"message": None, "path": "x", "extensions": []}, {}, "bad")
    for odd in odds:
        server.answers(says({"errors": [odd], "data": SERVICE}))
        with pytest.raises(Rejected, match="HTTP 200"):
            await world.ask()


@pytest.mark.parametrize("body", [b"<html>Bad Request</html>", b'{"errors": [{"message": "Syntax Error"}]}'])
async def test_what_is_not_understood_is_rejected_and_not_repeated(server: Server, world: World, body: bytes) -> None:
    server.answers(says(body, status=400))
    with pytest.raises(Rejected) as caught:
        await world.ask()
    assert caught.value.status == 400
    assert len(server.requests) == 1


EDGE = says(b"error code: 1015", status=429, headers={"Content-Type": "text/plain"})


async def test_a_mutation_that_was_one_request_too_many_was_not_done(server: Server, world: World) -> None:
    server.answers(EDGE, MADE)
    with pytest.raises(Throttled) as caught:
        await world.create()
    assert caught.value.retry_after is not None
    assert 5 <= caught.value.retry_after <= 7.5
    assert len(server.requests) == 1
    assert world.seen == [("ServiceCreate", "throttled")]


async def test_a_query_waits_as_long_as_a_429_says(server: Server, world: World) -> None:
    server.answers(says(b"", status=429, headers={"Retry-After": "20"}), EDGE, GOOD)
    began = world.clock()
    assert await world.ask() == SERVICE
    assert 25 <= world.clock() - began <= 35
    assert len(server.requests) == 3


async def test_a_429_that_lasts_too_long_is_told_at_once_and_stops_all_requests(server: Server, world: World) -> None:
    server.answers(says({"errors": []}, status=429, headers={"Retry-After": "900"}))
    with pytest.raises(Throttled) as caught:
        await world.ask()
    assert caught.value.retry_after == 900
    with pytest.raises(Throttled):
        await world.create()
    assert len(server.requests) == 1
    assert world.clock.slept == []


async def test_a_failure_that_names_a_time_is_waited_for(server: Server, world: World) -> None:
    server.answers(says(b"", status=503, headers={"Retry-After": "12"}), GOOD)
    assert await world.ask() == SERVICE
    assert world.clock.slept == [12]
    server.answers(says(b"", status=503, headers={"Retry-After": "1200"}), GOOD)
    with pytest.raises(Unanswered) as caught:
        await world.ask()
    assert caught.value.retry_after == 1200


async def test_the_budget_learns_from_every_answer(server: Server, world: World) -> None:
    limits = {"X-RateLimit-Limit": "500", "X-RateLimit-Remaining": "77", "X-RateLimit-Reset": "600"}
    server.answers(says({"data": SERVICE}, headers=limits))
    await world.ask()
    assert world.budget.remaining == 77


async def test_a_budget_that_is_used_up_sends_nothing(server: Server, world: World) -> None:
    server.answers(says({"data": SERVICE}, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "600"}))
    await world.ask()
    with pytest.raises(Throttled) as caught:
        await world.create()
    assert caught.value.retry_after is not None
    assert 600 <= caught.value.retry_after <= 601
    assert len(server.requests) == 1


async def test_the_token_is_read_once(server: Server, world: World) -> None:
    server.answers(GOOD)
    await asyncio.gather(*(world.ask() for _ in range(5)))
    assert world.reads == 1


REFUSALS = {
    "HTTP 200": NOT_AUTHORIZED,
    "HTTP 401": says(b"", status=401),
    "HTTP 403": says({"errors": [{"message": "no"}]}, status=403),
    "not found": fails("Project Token not found"),
    "at the mutation": fails("Not Authorized", path=["serviceCreate"], data=None),
}


@pytest.mark.parametrize("way", REFUSALS)
async def test_a_token_that_was_changed_is_found(server: Server, world: World, way: str) -> None:
    world.tokens = [Token("Project", SECRET), Token("Account", ROTATED)]
    server.answers(REFUSALS[way], MADE)
    assert await world.create() == CREATED
    server.answers(GOOD)
    assert await world.ask() == SERVICE
    assert world.reads == 2
    assert [request.headers.get("Authorization") for request in server.requests] == [None] + 2 * [f"Bearer {ROTATED}"]
    assert [body["operationName"] for body in server.bodies] == ["ServiceCreate", "ServiceCreate", "Service"]


@pytest.mark.parametrize("way", REFUSALS)
async def test_a_token_that_is_still_the_same_is_not_tried_again(server: Server, world: World, way: str) -> None:
    server.answers(REFUSALS[way])
    for attempt in (world.create, world.ask):
        with pytest.raises(Rejected) as caught:
            await attempt()
        assert caught.value.not_authorized
    assert len(server.requests) == 2


async def test_of_two_wrong_tokens_the_second_is_the_last(server: Server, world: World) -> None:
    world.tokens = [Token("Project", SECRET), Token("Project", ROTATED)]
    server.answers(NOT_AUTHORIZED)
    with pytest.raises(Rejected):
        await world.create()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "reply", [fails("Not Authorized", data=CREATED), fails("Not Authorized", path=["serviceCreate", "name"])]
)
async def test_a_mutation_that_may_have_been_carried_out_is_not_repeated_with_another_token(
    server: Server, world: World, reply: Reply
) -> None:
    world.tokens = [Token("Project", SECRET), Token("Project", ROTATED)]
    server.answers(reply, MADE)
    with pytest.raises(Rejected):
        await world.create()
    assert len(server.requests) == 1


async def test_many_that_are_refused_read_the_changed_token_once(server: Server, world: World) -> None:
    world.tokens = [Token("Project", SECRET), Token("Project", ROTATED), AgentpoolError("read too often")]

    async def by_token(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.01)
        good = request.headers["Project-Access-Token"] == ROTATED
        return await (GOOD if good else NOT_AUTHORIZED)(request)

    server.answers(by_token)
    assert await asyncio.gather(*(world.ask() for _ in range(5))) == [SERVICE] * 5
    assert world.reads == 2


async def test_a_secret_that_is_missing_is_said_and_read_again_next_time(server: Server, world: World) -> None:
    world.tokens = [Missing("there is no Secret railway"), Token("Project", SECRET)]
    server.answers(GOOD)
    with pytest.raises(Missing):
        await world.ask()
    assert server.requests == []
    assert await world.ask() == SERVICE


@pytest.mark.parametrize("value", ["", " \n", "a b", "a\nb", "tök", "a\0b"])
async def test_what_cannot_be_a_token_is_never_sent(server: Server, world: World, value: str) -> None:
    world.tokens = [Token("Project", value)]
    with pytest.raises(Barred, match="tokenSecretRef") as caught:
        await world.ask()
    assert caught.value.reason == "NotAuthorized"
    assert server.requests == []


async def test_creations_that_come_too_quickly_rest(server: Server, world: World) -> None:
    server.answers(fails("creating services too quickly, one every 40s"), MADE)
    with pytest.raises(Rejected) as caught:
        await world.create()
    rest = caught.value.retry_after
    assert rest is not None
    assert 40 <= rest <= 60
    with pytest.raises(Throttled):
        await world.create()
    assert len(server.requests) == 1
    world.clock.now += rest
    assert await world.create() == CREATED


async def test_a_creation_that_succeeds_ends_the_growth_of_the_rests(server: Server, world: World) -> None:
    too_quickly = fails("creating services too quickly")
    server.answers(too_quickly, MADE, too_quickly)
    rests = []
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            await world.create()
        assert caught.value.retry_after is not None
        rests.append(caught.value.retry_after)
        world.clock.now += rests[-1]
        if len(server.replies) > 1:
            assert await world.create() == CREATED
    assert all(15 <= rest <= 22.5 for rest in rests)


def chain(error: BaseException | None) -> str:
    """Everything that a log could show of an error."""
    told = ""
    while error is not None:
        told += f"{error!s} {error!r} {vars(error)} "
        error = error.__cause__ or error.__context__
    return told


ECHOES = {
    "message": fails(f"no such token: {SECRET}"),
    "cut": fails("x" * 280 + SECRET),
    "trace": fails("Not Authorized", traceId=SECRET),
    "code": says({"errors": [{"message": "no", "extensions": {"code": SECRET}}]}),
    "HTTP 500": fails(f"no such token: {SECRET}", status=500),
    "HTTP 400": fails(f"no such token: {SECRET}", status=400),
    "HTTP 401": fails(f"no such token: {SECRET}", status=401),
    "broken": hangs_up,
    "in the middle": stops_in_the_middle,
    "no gzip": UNCERTAIN["no gzip"],
    "429": EDGE,
}


@pytest.mark.parametrize("way", ECHOES)
async def test_no_error_gives_the_token_away(server: Server, world: World, way: str) -> None:
    server.answers(ECHOES[way])
    with pytest.raises(AgentpoolError) as caught:
        await world.create()
    told = chain(caught.value)
    assert told
    assert SECRET[:12] not in told
    assert SECRET[-12:] not in told
    assert SECRET not in repr(world.tokens)


async def test_a_request_goes_through_the_proxy_of_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/graphql/v2"))
    world = World("http://railway.invalid/graphql/v2")
    server.answers(GOOD)
    try:
        assert await world.ask() == SERVICE
    finally:
        await world.http.aclose()
    assert server.requests[0].headers["Host"] == "railway.invalid"


@pytest.mark.parametrize(
    "endpoint", ["", "backboard.railway.com", "ftp://railway.com", "https://", "http://a:b@c/", "http://\x00/"]
)
async def test_an_endpoint_that_is_no_address_is_refused(world: World, endpoint: str) -> None:
    with pytest.raises(Misconfigured, match="RAILWAY_API_URL"):
        world.another(endpoint)


async def test_a_query_cannot_be_sent_as_a_mutation_nor_the_other_way_round(server: Server, world: World) -> None:
    with pytest.raises(ValueError, match="ServiceCreate"):
        await world.client.query("ServiceCreate", ORDER)
    with pytest.raises(ValueError, match="Service"):
        await world.client.mutate("Service", {"id": "s-1"}, Priority.CLAIM)
    assert server.requests == []


async def test_who_is_cancelled_leaves_no_turn_behind(server: Server, world: World) -> None:
    server.answers(is_silent, GOOD)
    asking = asyncio.create_task(world.ask())
    await server.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await world.ask() == SERVICE
    assert world.budget.remaining == 998
