"""How the agent speaks HTTP: JSON answers, errors as one sentence, and bearer tokens."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from aiohttp import web

from agent.errors import AgentError
from agent.log import Log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(payload: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=orjson.dumps(payload), status=status, content_type="application/json")


def refusal(status: int, sentence: str) -> web.Response:
    """An error answer: one sentence under "error"."""
    return answer({"error": sentence}, status=status)


def bears(request: web.Request, token: str) -> bool:
    """Whether the request carries the token; compared in constant time."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Header bytes outside ASCII arrive as surrogates, which compare_digest refuses as text.
    matches = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return scheme.lower() == "bearer" and matches


async def read_object(request: web.Request) -> dict[str, Any]:
    """Read a JSON object from the body; an empty body is an empty object."""
    body = await request.read()
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise AgentError(400, f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise AgentError(400, "The body is not a JSON object.")
    return value


def errors_as_sentences(log: Log) -> Any:
    """A middleware: whatever goes wrong leaves as JSON with one sentence, and the unexpected is logged."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except AgentError as error:
            response = refusal(error.status, error.sentence)
            if error.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response
        except web.HTTPRequestEntityTooLarge:
            return refusal(413, f"The body is larger than {request.client_max_size} bytes.")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            response = refusal(405, f"{request.method} is not served at this path: use {allowed}.")
            response.headers["Allow"] = allowed
            return response
        except web.HTTPNotFound:
            return refusal(404, "Nothing is served at this path.")
        except Exception as error:  # the edge: no traceback reaches a person
            log.error("a request failed", cause=error, method=request.method, path=request.path)
            return refusal(500, "The agent failed to handle this request; its log says why.")

    return middleware
