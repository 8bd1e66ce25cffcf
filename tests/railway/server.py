"""Answers requests to the API over HTTP, with all that can go wrong on the way."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from graphql import ExecutionResult, GraphQLError

from tests.railway import refusals
from tests.railway.access import Access
from tests.railway.api import Api, Malformed, Operation
from tests.railway.counts import Counts
from tests.railway.faults import Fault, Faults
from tests.railway.limits import Limits
from tests.railway.records import Token
from tests.railway.settings import Settings

PATH = "/graphql/v2"
HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1><p>The server is busy.</p></body></html>"


class Server:
    """The endpoint of the API."""

    def __init__(
        self,
        seed: int,
        api: Api,
        access: Access,
        limits: Limits,
        settings: Settings,
        faults: Faults,
        counts: Counts,
        clock: Callable[[], float],
    ) -> None:
        self._api = api
        self._access = access
        self._limits = limits
        self._settings = settings
        self._faults = faults
        self._counts = counts
        self._clock = clock
        self._dice = random.Random(f"{seed}:server")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One operation. It is executed to its end even if the client does not wait."""
        operation, names = self._read(await request.read())
        self._counts.requests[names[0]] += 1
        self._counts.per_second[int(self._clock())] += 1
        stopped = self._stop_at_the_edge(request, names)
        if stopped is not None:
            return stopped
        token = self._access.identify(request.headers)
        if token is None:
            return self._unauthorized()
        scope = token.value if self._settings.limit_scope == "token" else token.workspace_id
        admission = self._limits.admit(scope)
        if not admission.admitted:
            self._counts.violations[names[0]] += 1
            return _too_many(admission.headers)
        if self._faults.strikes(Fault.TOO_MANY, *names):
            return _too_many({**admission.headers, "Retry-After": str(self._settings.retry_after)})
        answer = await self._answer(request, operation, names, token)
        answer.headers.update(admission.headers)
        return answer

    def _read(self, body: bytes) -> tuple[Operation | Malformed, tuple[str, ...]]:
        """What is asked for, and what it is called, the name of the operation first."""
        try:
            payload = json.loads(body)
            if not isinstance(payload, Mapping):
                raise Malformed([GraphQLError("POST body must be an object.")])
            operation = self._api.read(payload)
        except ValueError:
            return Malformed([GraphQLError("POST body sent invalid JSON.")]), ("malformed",)
        except Malformed as malformed:
            return malformed, ("malformed",)
        return operation, (operation.name, operation.kind, *operation.fields)

    def _stop_at_the_edge(self, request: web.Request, names: tuple[str, ...]) -> web.StreamResponse | None:
        """What becomes of a request that does not even reach the API."""
        if not request.query.get("source"):
            self._counts.unidentified += 1
            if not self._limits.admit_unidentified():
                self._counts.violations[names[0]] += 1
                return web.Response(status=429, text="error code: 1015")
        if self._faults.strikes(Fault.EDGE_LIMIT, *names):
            return web.Response(status=429, text="error code: 1015")
        if self._faults.strikes(Fault.LOST_REQUEST, *names):
            return _cut(request)
        if self._faults.strikes(Fault.BAD_GATEWAY, *names):
            return _html(502, "502 Bad Gateway")
        return None

    async def _answer(
        self, request: web.Request, operation: Operation | Malformed, names: tuple[str, ...], token: Token
    ) -> web.StreamResponse:
        if isinstance(operation, Malformed):
            return self._errors(operation.errors, status=400)
        if self._faults.strikes(Fault.ERROR_BEFORE, *names):
            return self._problem()
        result = await self._api.execute(operation, token)
        if result.errors and "mutation" in names:
            self._counts.failed_mutations.update(operation.fields)
        return await self._deliver(request, result, names)

    async def _deliver(
        self, request: web.Request, result: ExecutionResult, names: tuple[str, ...]
    ) -> web.StreamResponse:
        """What the client gets of what was done."""
        if self._faults.strikes(Fault.SLOW, *names):
            await asyncio.sleep(self._faults.draw(Fault.SLOW, self._settings.slow))
        if self._faults.strikes(Fault.LOST_ANSWER, *names):
            return _cut(request)
        if self._faults.strikes(Fault.GATEWAY_TIMEOUT, *names):
            return _html(504, "504 Gateway Time-out")
        if not result.errors and self._faults.strikes(Fault.ERROR_AFTER, *names):
            return self._error_after(names)
        errors = result.errors or []
        # An error outside of any field is one of the variables, which are checked like the operation itself.
        status = 400 if any(error.path is None for error in errors) else 200
        content: dict[str, Any] = {"data": result.data}
        if errors:
            content["errors"] = [self._error(error) for error in errors]
        text = json.dumps(content)
        if self._faults.strikes(Fault.TRUNCATED, *names):
            text = text[: len(text) // 2]
        return web.Response(status=status, text=text, content_type="application/json")

    def _error_after(self, names: tuple[str, ...]) -> web.StreamResponse:
        """Two kinds are known: the one without path and code, and the one that looks like any other."""
        if self._dice.random() < 0.5:
            return self._problem()
        error = GraphQLError(refusals.PROBLEM, path=[names[-1]], extensions={"code": refusals.INTERNAL})
        return self._errors([error])

    def _problem(self) -> web.StreamResponse:
        return self._errors([GraphQLError(refusals.PROBLEM)])

    def _unauthorized(self) -> web.StreamResponse:
        return self._errors([refusals.not_authorized()], status=401 if self._settings.unauthorized == "status" else 200)

    def _errors(self, errors: list[GraphQLError], status: int = 200) -> web.Response:
        content: dict[str, Any] = {"errors": [self._error(error) for error in errors]}
        if status == 200:
            content["data"] = None
        return web.json_response(content, status=status)

    def _error(self, error: GraphQLError) -> dict[str, Any]:
        return {**error.formatted, "traceId": str(self._dice.getrandbits(63))}


def _too_many(headers: Mapping[str, str]) -> web.StreamResponse:
    errors = [{"message": "Too many requests, please try again later."}]
    return web.json_response({"errors": errors}, status=429, headers=headers)


def _html(status: int, title: str) -> web.Response:
    return web.Response(status=status, text=HTML.format(title), content_type="text/html")


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
