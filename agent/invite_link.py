"""Convos invite links and the network each belongs to."""

from __future__ import annotations

from urllib.parse import urlsplit

from agent.errors import AgentError
from agent.settings import Network

INVITE_HOSTS: dict[Network, str] = {"dev": "dev.convos.org", "production": "popup.convos.org"}
LONGEST_LINK = 4096


def check_invite_link(link: str, network: Network, *, field: str) -> None:
    """Raise 400 unless the link is an https URL that this network may join; the gateway judges other hosts."""
    if len(link) > LONGEST_LINK or not link.isascii() or any(character <= " " for character in link):
        raise AgentError(400, f"{field} is not an invite link: give an https URL of at most {LONGEST_LINK} characters.")
    try:
        parts = urlsplit(link)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        host = ""
    if not host or parts.scheme != "https":
        raise AgentError(
            400, f"{field} is not an invite link: give an https URL such as https://{INVITE_HOSTS[network]}/v2?i=..."
        )
    for other, other_host in INVITE_HOSTS.items():
        if other != network and host == other_host:
            raise AgentError(
                400, f"{field} belongs to the {other} network ({host}), but this instance runs in {network}."
            )


def abridged(link: str | None) -> str | None:
    """Enough of a link to recognise it in a log, too little to join with."""
    if link is None:
        return None
    head, _, slug = link.partition("i=")
    return f"{head}i={slug[:6]}..." if slug else f"{head[:24]}..."
