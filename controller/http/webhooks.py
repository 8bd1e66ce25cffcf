"""POST /webhooks/railway/{secret}: what Railway tells of deployments. Not signed, so never more than a hint."""

import hmac
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

PATH = "/webhooks/railway/{secret}"
MOST_BYTES = 64 * 1024
"""A longer body is refused unread."""
_LONGEST_ID = 64

Hint = Callable[[str | None, str | None, str | None], None]
"""Takes the ids of project, environment and service, as far as the event names them."""


class RailwayWebhooks:
    """Answers to who knows the secret in the path; to everybody else there is nothing here."""

    def __init__(self, secret: str, hint: Hint) -> None:
        self._secret = secret.encode()
        self._hint = hint

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Serve it. All methods: an answer to some of them would tell that there is something."""

        async def answer(request: web.Request) -> web.Response:
            return await self.take(request, request.match_info["secret"])

        router.add_route("*", PATH, answer)

    async def take(self, request: web.Request, secret: str) -> web.Response:
        """Answer a request with that secret in its path."""
        known = hmac.compare_digest(secret.encode(errors="replace"), self._secret)
        if not known or request.method != "POST":
            raise web.HTTPNotFound
        try:
            event = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            raise web.HTTPBadRequest(text="the body is no JSON\n") from None
        kind = event.get("type") if isinstance(event, dict) else None
        if isinstance(kind, str) and kind.startswith("Deployment."):
            resource = event.get("resource")
            self._hint(_id(resource, "project"), _id(resource, "environment"), _id(resource, "service"))
        return web.Response(status=204)


def _id(resource: Any, kind: str) -> str | None:
    thing = resource.get(kind) if isinstance(resource, dict) else None
    found = thing.get("id") if isinstance(thing, dict) else None
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST_ID else None
