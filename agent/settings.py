"""The supervisor's settings, read once from the environment."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from agent.errors import SettingsError

Network = Literal["dev", "production"]
GatewayName = Literal["loopback", "openclaw"]

_GATEWAY_PORTS: dict[GatewayName, int] = {"loopback": 0, "openclaw": 18789}


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
    gateway: GatewayName = "loopback"
    gateway_port: int = 0
    openclaw_command: tuple[str, ...] = ("openclaw",)
    plugins: tuple[Path, ...] = ()
    volume: Path | None = None
    former_state_dir: Path | None = None
    """Where state lies that was written before there was a volume; None when there is nothing to move."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check every setting, or raise SettingsError with one line that names the variable."""
        token = environment.get("OPENCLAW_GATEWAY_TOKEN", "").strip()
        if not token:
            raise SettingsError("OPENCLAW_GATEWAY_TOKEN is not set: give this instance a bearer token of its own.")
        gateway = _gateway(environment)
        state, named = state_dir(environment), _named_state_dir(environment)
        return cls(
            token=token,
            host=_host(environment),
            port=_port(environment, "PORT", default=8080),
            instance_id=environment.get("INSTANCE_ID", "").strip() or None,
            state_dir=state,
            network=network(environment),
            pool_url=_pool_url(environment),
            gateway=gateway,
            gateway_port=_port(environment, "GATEWAY_PORT", default=_GATEWAY_PORTS[gateway]),
            openclaw_command=_openclaw_command(environment),
            plugins=_plugins(environment),
            volume=_volume(environment),
            former_state_dir=None if named == state else named,
        )


def state_dir(environment: Mapping[str, str]) -> Path:
    """Where the instance keeps its files: OPENCLAW_STATE_DIR, by default ./state; on the volume when there is one.

    A state directory that lies on the volume anyway leads; any other one, such as an image's own, would be lost
    with its container, so `state` on the volume takes its place.
    """
    named, volume = _named_state_dir(environment), _volume(environment)
    if volume is None or named.resolve().is_relative_to(volume.resolve()):
        return named
    return volume / "state"


def network(environment: Mapping[str, str]) -> Network:
    """The XMTP network: XMTP_ENV, by default dev."""
    match environment.get("XMTP_ENV", "").strip() or "dev":
        case "dev":
            return "dev"
        case "production":
            return "production"
        case other:
            raise SettingsError(f"XMTP_ENV={other!r} is not a network: use 'dev' or 'production'.")


def _named_state_dir(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("OPENCLAW_STATE_DIR", "").strip() or "state").absolute()


def _volume(environment: Mapping[str, str]) -> Path | None:
    for variable in ("AGENT_VOLUME", "RAILWAY_VOLUME_MOUNT_PATH"):
        text = environment.get(variable, "").strip()
        if text and not Path(text).is_dir():
            # Falling back to the container's own disk would lose the state with the container.
            raise SettingsError(f"{variable}={text!r} is not a directory: mount the volume there, or leave it out.")
        if text:
            return Path(text).absolute()
    return None


def _gateway(environment: Mapping[str, str]) -> GatewayName:
    match environment.get("AGENT_GATEWAY", "").strip() or "loopback":
        case "loopback":
            return "loopback"
        case "openclaw":
            return "openclaw"
        case other:
            raise SettingsError(f"AGENT_GATEWAY={other!r} is not a gateway: use 'loopback' or 'openclaw'.")


def _openclaw_command(environment: Mapping[str, str]) -> tuple[str, ...]:
    try:
        words = shlex.split(environment.get("OPENCLAW_COMMAND", ""))
    except ValueError:
        raise SettingsError("OPENCLAW_COMMAND has a quotation mark without its counterpart.") from None
    return tuple(words) or ("openclaw",)


def _plugins(environment: Mapping[str, str]) -> tuple[Path, ...]:
    return tuple(
        Path(part.strip()).absolute() for part in environment.get("AGENT_PLUGINS", "").split(":") if part.strip()
    )


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
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
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
