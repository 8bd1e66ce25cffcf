"""The runtime contract over HTTP, in both protocols."""

import time
from collections import OrderedDict
from typing import Any, Literal

import orjson

from controller.errors import Conflict, Refused
from controller.ports import Endpoint, Provisioned, ProvisionOrder, Readiness
from controller.runtime.answers import NOT_TAKEN, conversation_in, convos_provisioned, pool_provisioned, why_unready
from controller.runtime.resolver import RememberingResolver
from controller.runtime.transport import Request, Transport, Unanswered

MAX_PROBES = 100
MAX_IDLE_HOSTS = 100
MAX_PROVISIONS = 500
MAX_IN_DOUBT = 10_000


class HttpRuntime:
    """Speaks to instances; at most ``MAX_PROBES`` probes at once, and none of them ever delays a provision.

    A deadline begins when the request does: the wait for a free slot is this side's own and blames no instance.
    """

    def __init__(self) -> None:
        resolver = RememberingResolver(time.monotonic)
        self._probes = Transport(resolver, concurrent=MAX_PROBES, idle=MAX_IDLE_HOSTS, clock=time.monotonic)
        self._provisions = Transport(resolver, concurrent=MAX_PROVISIONS, idle=0, clock=time.monotonic)
        self._in_doubt: OrderedDict[Endpoint, None] = OrderedDict()
        """Instances without idempotency keys whose last order had no certain outcome."""

    async def probe(self, endpoint: Endpoint, *, timeout: float) -> Readiness:  # noqa: ASYNC109 - part of the order
        """Whether it is ready. ``Transient`` only when this side cannot ask, which says nothing about the instance."""
        path = "/pool/health" if endpoint.protocol == "pool" else "/convos/status"
        try:
            answer = await self._probes.ask(_request(endpoint, "GET", path), timeout=timeout)
        except Unanswered as silence:
            return Readiness(ready=False, detail=str(silence))
        detail = why_unready(answer, endpoint.protocol, (endpoint.token,))
        return Readiness(ready=not detail, detail=detail)

    async def provision(self, endpoint: Endpoint, order: ProvisionOrder, *, timeout: float) -> Provisioned:  # noqa: ASYNC109
        """Give it its conversation. Without keys (``convos``), ``Conflict`` also after a try of unknown outcome."""
        body = _body(endpoint.protocol, order)
        if endpoint.protocol == "convos":
            return await self._provision_once(endpoint, order, body, timeout)
        request = Request("POST", _url(endpoint, "/pool/provision"), endpoint.token, body, order.key, order.next_token)
        return pool_provisioned(await self._provisions.ask(request, timeout=timeout), _secrets(endpoint, order))

    async def conversation(self, endpoint: Endpoint, *, timeout: float) -> str | None:  # noqa: ASYNC109
        """The conversation it is in by now, if any. ``Transient``: it does not say; ``Refused``: it never will."""
        answer = await self._probes.ask(_request(endpoint, "GET", "/convos/status"), timeout=timeout)
        return conversation_in(answer, (endpoint.token,))

    async def close(self) -> None:
        """Close idle connections."""
        await self._probes.close()
        await self._provisions.close()

    async def _provision_once(
        self, endpoint: Endpoint, order: ProvisionOrder, body: bytes, seconds: float
    ) -> Provisioned:
        """Nothing tells a runtime without keys that a second order is the first one again: it may still act on that."""
        if endpoint in self._in_doubt:
            raise Conflict("nobody knows what became of an earlier order, and this protocol cannot repeat one safely")
        path = "/convos/conversation" if order.join_url is None else "/convos/join"
        # Noted before the request, so that a cancelled one leaves its doubt as well.
        self._in_doubt[endpoint] = None
        if len(self._in_doubt) > MAX_IN_DOUBT:
            self._in_doubt.popitem(last=False)
        try:
            answer = await self._provisions.ask(_request(endpoint, "POST", path, body=body), timeout=seconds)
            if answer.status in NOT_TAKEN:
                self._in_doubt.pop(endpoint, None)
            provisioned = convos_provisioned(answer, _secrets(endpoint, order), joining=order.join_url is not None)
        except Unanswered as silence:
            if not silence.sent:
                self._in_doubt.pop(endpoint, None)
            raise
        except Refused:
            self._in_doubt.pop(endpoint, None)
            raise
        self._in_doubt.pop(endpoint, None)
        return provisioned


def _request(endpoint: Endpoint, method: Literal["GET", "POST"], path: str, *, body: bytes | None = None) -> Request:
    return Request(method, _url(endpoint, path), endpoint.token, body)


def _url(endpoint: Endpoint, path: str) -> str:
    return endpoint.url.rstrip("/") + path


def _body(protocol: Literal["pool", "convos"], order: ProvisionOrder) -> bytes:
    join_url = order.join_url
    body: dict[str, Any]
    if protocol == "pool":
        body = {"agentName": order.agent_name, "instructions": order.instructions}
        body |= {} if join_url is None else {"joinUrl": join_url}
    else:
        body = {"profileName": order.agent_name, "instructions": order.instructions}
        body |= {"name": order.agent_name} if join_url is None else {"inviteUrl": join_url}
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        message = "the claim's agentName, instructions or joinUrl hold halves of characters: write them as UTF-8 text"
        raise Refused("ProvisionRefused", message) from None


def _secrets(endpoint: Endpoint, order: ProvisionOrder) -> tuple[str, ...]:
    """What no sentence of the runtime may repeat. The host of a join link is no secret, the rest of it is."""
    link = (order.join_url or "").partition("://")[2].partition("/")[2]
    return endpoint.token, order.instructions, link, *(() if order.next_token is None else (order.next_token,))
