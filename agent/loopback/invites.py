"""Invite links of the loopback service: self-contained, so any loopback service knows the conversation behind one.

A slug is a version byte, the conversation's 16 bytes, a 4-byte tag that locking rotates, and a checksum.
The checksum tells our links from a stranger's; it is no signature and protects nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from agent.errors import AgentError
from agent.invite_link import INVITE_HOSTS, check_invite_link
from agent.settings import Network

_VERSION = b"\x01"
_CHECKSUM_BYTES = 8
_SLUG_BYTES = 1 + 16 + 4 + _CHECKSUM_BYTES


@dataclass(frozen=True, slots=True)
class Invite:
    """What a link asks for: a conversation, and whether its owner has to accept first."""

    slug: str
    conversation_id: str
    must_wait: bool


def issue_slug(conversation_id: str, tag: bytes, network: Network) -> str:
    """The slug of a conversation (32 hexadecimal digits) under a tag of 4 bytes."""
    content = _VERSION + bytes.fromhex(conversation_id) + tag
    return base64.urlsafe_b64encode(content + _checksum(content, network)).decode().rstrip("=")


def invite_url(slug: str, network: Network) -> str:
    """The link that carries a slug."""
    return f"https://{INVITE_HOSTS[network]}/v2?i={slug}"


def read_invite(text: str, network: Network) -> Invite:
    """Read a link or a bare slug, or raise 400.

    A link issued by a loopback service joins at once, or waits when it carries `wait=1`. Any other slug names a
    conversation whose owner nobody can reach from here: the join waits, as it would for a phone that is switched off.
    """
    slug, wait = text, False
    if "/" in text or ":" in text:
        check_invite_link(text, network, field="inviteUrl")
        query = parse_qs(urlsplit(text).query)
        slug = query.get("i", [""])[0]
        wait = query.get("wait", ["0"])[0] == "1"
    if not slug or len(slug) > 2048 or not all(letter.isalnum() or letter in "-_.~*" for letter in slug):
        raise AgentError(400, "inviteUrl carries no invite: give the whole link, with its i=... part.")
    issued = _conversation_of(slug, network)
    if issued is not None:
        return Invite(slug=slug, conversation_id=issued, must_wait=wait)
    stranger = hashlib.sha256(f"{network} {slug}".encode()).hexdigest()[:32]
    return Invite(slug=slug, conversation_id=stranger, must_wait=True)


def _conversation_of(slug: str, network: Network) -> str | None:
    try:
        content = base64.b64decode(slug + "=" * (-len(slug) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    if len(content) != _SLUG_BYTES or content[:1] != _VERSION:
        return None
    content, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    return content[1:17].hex() if checksum == _checksum(content, network) else None


def _checksum(content: bytes, network: Network) -> bytes:
    return hashlib.sha256(b"agentpool loopback invite " + network.encode() + content).digest()[:_CHECKSUM_BYTES]
