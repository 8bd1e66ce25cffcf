"""What can happen to a request on its way to the API server, and to the answer on its way back."""

import asyncio
import json
from collections.abc import Callable

from aiohttp import web

from tests.faults.rules import Effect, Exchange

_GONE = "too old resource version: 1 (2)"


def refuse(status: int, reason: str, message: str, retry_after: int | None = None) -> Effect:
    """It is answered at once, and never forwarded."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        return web.json_response(_status(status, reason, message), status=status, headers=headers)

    return effect


def lose() -> Effect:
    """It is carried out, and the answer is lost with the connection."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        await exchange.forward()
        return exchange.drop()

    return effect


def truncate(share: float = 0.5) -> Effect:
    """It is carried out, and the answer ends in the middle."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        answer = await exchange.forward()
        response = await exchange.begin(answer.status, answer.headers | {"Content-Length": str(len(answer.content))})
        await response.write(answer.content[: int(len(answer.content) * share)])
        exchange.drop()
        return response

    return effect


def delay(seconds: float, answered: bool = False) -> Effect:
    """It comes late; ``answered``: the answer does."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        if not answered:
            await asyncio.sleep(seconds)
            return await exchange.pass_on()
        answer = await exchange.forward()
        await asyncio.sleep(seconds)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.content)

    return effect


def hold(seconds: float, carried_out: bool) -> Effect:
    """Nothing is heard of it for so long, and then its connection breaks."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        if carried_out:
            await exchange.forward()
        await asyncio.sleep(seconds)
        return exchange.drop()

    return effect


def first(do: Callable[[str], None]) -> Effect:
    """Something is done to whoever sent it before it is forwarded, and it never is."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        do(exchange.asked.who)
        return exchange.drop()

    return effect


def then(do: Callable[[str], None]) -> Effect:
    """Something is done to whoever sent it when it was carried out, and before that is answered."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        await exchange.forward()
        do(exchange.asked.who)
        return exchange.drop()

    return effect


def afterwards(do: Callable[[str], None], seconds: float) -> Effect:
    """It is carried out and answered, and a moment later something is done to whoever sent it."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        asyncio.get_running_loop().call_later(seconds, do, exchange.asked.who)
        return await exchange.pass_on()

    return effect


def tear(size: int) -> Effect:
    """A watch breaks after so many bytes, in the middle of an event."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        return await exchange.pass_on(size)

    return effect


def late(do: Callable[[str], None], seconds: float) -> Effect:
    """Something is done to whoever sent it, and so much later it is forwarded."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        do(exchange.asked.who)
        await asyncio.sleep(seconds)
        return await exchange.pass_on()

    return effect


def expire() -> Effect:
    """A watch begins, and says at once that its version is too old."""

    async def effect(exchange: Exchange) -> web.StreamResponse:
        response = await exchange.begin(200, {"Content-Type": "application/json"})
        event = {"type": "ERROR", "object": _status(410, "Expired", _GONE)}
        await response.write(json.dumps(event).encode() + b"\n")
        await response.write_eof()
        return response

    return effect


def gone() -> Effect:
    """A watch is refused, since its version is too old."""
    return refuse(410, "Expired", _GONE)


def _status(status: int, reason: str, message: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }
