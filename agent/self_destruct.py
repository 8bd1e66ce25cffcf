"""Who may ask the instance to end itself, and how the pool is told."""

from __future__ import annotations

import ipaddress

import aiohttp
import orjson
from aiohttp import web

from agent.errors import AgentError
from agent.log import Log

TELL_DEADLINE_SECONDS = 5.0
SENT_BY_A_PROXY = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")
_SENT_BY_A_BROWSER = ("Origin", "Sec-Fetch-Site")


def require_local(request: web.Request) -> None:
    """Raise 403 unless a process inside the instance asks: no other peer, no proxy's client, no web page."""
    if not is_loopback(request.remote):
        raise AgentError(403, "Self-destruction is asked for from inside the instance only.")
    for name in (*SENT_BY_A_PROXY, *_SENT_BY_A_BROWSER):
        if name in request.headers:
            raise AgentError(403, f"Self-destruction is asked for from inside the instance only, without {name}.")


async def tell_pool(
    session: aiohttp.ClientSession, pool_url: str, *, instance_id: str | None, token: str, log: Log
) -> None:
    """Ask the pool to destroy this instance; a failure is logged, for the pool notices the exit anyway."""
    try:
        async with session.post(
            f"{pool_url}/api/pool/self-destruct",
            data=orjson.dumps({"instanceId": instance_id, "gatewayToken": token}),
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=TELL_DEADLINE_SECONDS),
        ) as response:
            if response.status == 200:
                log.info("told the pool to destroy this instance")
            else:
                log.warning("the pool did not take the self-destruction", status=response.status)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.warning("the pool could not be told of the self-destruction", reason=type(error).__name__)


def is_loopback(peer: str | None) -> bool:
    """Whether a peer's address is this machine's own, IPv4 inside IPv6 included."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
