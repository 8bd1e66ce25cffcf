"""The bridge of a private engine: an interface and a block of addresses that no other engine on this host uses."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCKS = ipaddress.IPv4Network("10.232.0.0/13")  # a corner of 10/8 that hardly anybody uses
_BLOCK_PREFIX = 21


@dataclass(frozen=True, slots=True)
class Bridge:
    """An interface that exists, and the addresses behind it."""

    name: str
    block: ipaddress.IPv4Network

    @property
    def gateway(self) -> str:
        """This host, as containers on the bridge see it."""
        return str(self.block[1])

    def remove(self) -> None:
        """Remove the interface; the engine must have ended."""
        remove_interfaces([self.name])


def remove_interfaces(names: Iterable[str]) -> None:
    """Remove those of the named interfaces that exist."""
    links: list[dict[str, Any]] = json.loads(_ip("-json", "link", "show") or "[]")
    existing = {link.get("ifname") for link in links}
    for name in names:
        if name in existing:
            _ip("link", "delete", name, check=False)


def find_bridge(name: str) -> Bridge | None:
    """The bridge of that name, if it exists."""
    for known, address in _addresses():
        if known == name:
            return Bridge(name, address.network)
    return None


def make_bridge(name: str) -> Bridge:
    """Find the bridge of that name, or make it on the first free block."""
    # Several engines start at once, and none may see a block as free that another is about to take.
    with _one_at_a_time():
        if found := find_bridge(name):
            return found
        block = _free_block()
        remove_interfaces([name])  # one without an address: its maker died in between
        _ip("link", "add", "name", name, "address", _hardware_address(name), "type", "bridge")
        _ip("address", "add", f"{block[1]}/{_BLOCK_PREFIX}", "dev", name)
        _ip("link", "set", name, "up")
        return Bridge(name, block)


def _hardware_address(name: str) -> str:
    """One that stays: a bridge without takes that of a port, a new one with each container that starts, and answers on
    their way to the old one wait for TCP to repeat them.
    """
    octets = hashlib.sha256(name.encode()).digest()[:5]
    return ":".join(["02", *(f"{octet:02x}" for octet in octets)])


def _free_block() -> ipaddress.IPv4Network:
    taken = [address.network for _, address in _addresses()]
    for route in json.loads(_ip("-json", "-4", "route", "show", "table", "all") or "[]"):
        if route.get("dst", "default") != "default":
            taken.append(ipaddress.IPv4Network(route["dst"], strict=False))
    for block in _BLOCKS.subnets(new_prefix=_BLOCK_PREFIX):
        if not any(block.overlaps(other) for other in taken):
            return block
    raise OSError(f"no block of addresses is free in {_BLOCKS}: remove the bridges of engines that are gone")


def _addresses() -> list[tuple[str, ipaddress.IPv4Interface]]:
    links: list[dict[str, Any]] = json.loads(_ip("-json", "-4", "address", "show") or "[]")
    return [
        (link["ifname"], ipaddress.IPv4Interface(f"{address['local']}/{address['prefixlen']}"))
        for link in links
        if "ifname" in link
        for address in link.get("addr_info", [])
    ]


def _ip(*words: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with Path(tempfile.gettempdir(), "agentpool-test-bridges.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
