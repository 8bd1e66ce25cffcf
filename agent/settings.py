"""The supervisor's settings, read once from the environment."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from agent.errors import SettingsError

Network = Literal["dev", "production"]


@dataclass(frozen=True, slots=True)
class Settings:
    """One instance: where it listens, what it is called, and where it keeps its state."""

    token: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    instance_id: str | None = None
    state_dir: Path = Path("state")
    network: Network = "dev"
    pool_url: str | None = None
    gateway_port: int = 0

    @property
    def gateway_command(self) -> tuple[str, ...]:
        """How the gateway is started; the lifeline makes it end with its supervisor."""
        return (sys.executable, "-m", "agent.loopback", "--lifeline", "--port", str(self.gateway_port))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check every setting, or raise SettingsError with one line that names the variable."""
        token = environment.get("OPENCLAW_GATEWAY_TOKEN", "").strip()
        if not token:
            raise SettingsError("OPENCLAW_GATEWAY_TOKEN is not set: give this instance a bearer token of its own.")
        gateway = environment.get("AGENT_GATEWAY", "").strip() or "loopback"
        if gateway != "loopback":
            raise SettingsError(f"AGENT_GATEWAY={gateway!r} is not supported: the only gateway is 'loopback'.")
        return cls(
            token=token,
            host=_host(environment),
            port=_port(environment, "PORT", default=8080),
            instance_id=environment.get("INSTANCE_ID", "").strip() or None,
            state_dir=state_dir(environment),
            network=network(environment),
            pool_url=_pool_url(environment),
            gateway_port=_port(environment, "GATEWAY_PORT", default=0),
        )


def state_dir(environment: Mapping[str, str]) -> Path:
    """Where the instance keeps its files: OPENCLAW_STATE_DIR, by default ./state."""
    return Path(environment.get("OPENCLAW_STATE_DIR", "").strip() or "state").absolute()


def network(environment: Mapping[str, str]) -> Network:
    """The XMTP network: XMTP_ENV, by default dev."""
    match environment.get("XMTP_ENV", "").strip() or "dev":
        case "dev":
            return "dev"
        case "production":
            return "production"
        case other:
            raise SettingsError(f"XMTP_ENV={other!r} is not a network: use 'dev' or 'production'.")


def _host(environment: Mapping[str, str]) -> str:
    variable = "AGENT_BIND" if environment.get("AGENT_BIND", "").strip() else "HOST"
    host = environment.get(variable, "").strip() or "127.0.0.1"
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise SettingsError(f"{variable}={host!r} is not an IP address: use 127.0.0.1, 0.0.0.0 or ::.") from None


def _port(environment: Mapping[str, str], variable: str, *, default: int) -> int:
    text = environment.get(variable, "").strip() or str(default)
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise SettingsError(f"{variable}={text!r} is not a port: use 0 (chosen by the system) to 65535.")
    return int(text)


def _pool_url(environment: Mapping[str, str]) -> str | None:
    url = environment.get("POOL_URL", "").strip().rstrip("/")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError("POOL_URL is not an http or https URL: give the pool's base URL, or leave it out.")
    return url
