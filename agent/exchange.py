"""The exchange: what opens the instance from outside becomes, on the way in, what opens its gateway.

The gateway has a token of its own, which nobody outside knows. So the token that the instance was launched with opens
nothing once another one has taken its place, although the gateway knows of neither.
"""

from __future__ import annotations

import hmac

import orjson
from aiohttp import web
from multidict import CIMultiDict

from agent.token import InstanceToken


class Exchange:
    """Puts the gateway's token in the place of the instance's, and lets everything else be."""

    def __init__(self, outer: InstanceToken, inner: str) -> None:
        self.outer = outer
        self._inner = inner

    def headers(self, request: web.Request, forwarded: CIMultiDict[str]) -> CIMultiDict[str]:
        """The headers for the gateway. Another token than the instance's is the gateway's to refuse."""
        if self.outer.opens(request):
            forwarded["Authorization"] = f"Bearer {self._inner}"
        return forwarded

    def first_message(self, text: str) -> str | None:
        """The first message of a WebSocket, in which OpenClaw's own clients show their token; None: nothing to change.

        `{"method": "connect", "params": {"auth": {"token": ...}}}`
        """
        try:
            message = orjson.loads(text)
            auth = message["params"]["auth"]
            if not hmac.compare_digest(auth["token"].encode(), self.outer.current.encode()):
                return None
            auth["token"] = self._inner
            # Which cannot write all that it reads: what is nested deeper than 254 levels is no client's either.
            return orjson.dumps(message).decode()
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, KeyError, TypeError, AttributeError):
            return None
