"""Where Railway is, and how a service's domain becomes an address: from the operator's own environment."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from controller.errors import Misconfigured

API = "https://backboard.railway.com/graphql/v2"
EDGE = "https://{domain}"
DRIFT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Address:
    """Two ways: to Railway's API, and through its edge to an instance; and how often changes are looked for there."""

    api: str = API
    edge: str = EDGE
    drift_seconds: float = DRIFT_SECONDS

    def url_of(self, domain: str) -> str:
        """Where the service of a domain listens."""
        url = self.edge.replace("{domain}", domain)
        # Tokens of instances go in the clear to nobody but this host.
        in_the_clear = url.startswith("http://") and not _is_loopback(urlsplit(url).hostname or "")
        return EDGE.replace("{domain}", domain) if in_the_clear else url


def read_address(environ: Mapping[str, str]) -> Address:
    """``Misconfigured`` when a RAILWAY_* variable cannot be meant, or would send tokens in the clear."""
    api, edge = environ.get("RAILWAY_API_URL") or API, environ.get("RAILWAY_EDGE_URL") or EDGE
    _check("RAILWAY_API_URL", api, API)
    if "{domain}" not in edge:
        raise Misconfigured(f"RAILWAY_EDGE_URL must hold {{domain}}, as in {EDGE}: correct it, or unset it")
    _check("RAILWAY_EDGE_URL", edge.replace("{domain}", "service.localhost"), EDGE)
    return Address(api, edge, _read_seconds(environ.get("RAILWAY_DRIFT_SECONDS") or str(DRIFT_SECONDS)))


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400:
        raise Misconfigured("RAILWAY_DRIFT_SECONDS must be a number of seconds from 1 to 86400: correct or unset it")
    return seconds


def _check(variable: str, url: str, example: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise Misconfigured(f"{variable} is no URL: give one such as {example}, or unset it") from None
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None:
        raise Misconfigured(f"{variable} is no http or https URL without credentials: give one such as {example}")
    if parts.scheme == "http" and not _is_loopback(host):
        raise Misconfigured(f"{variable} would send tokens in the clear to {host}: use https, or a host on loopback")


def _is_loopback(host: str) -> bool:
    # Names below localhost never leave the host (RFC 6761).
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
