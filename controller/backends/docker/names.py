"""How containers and volumes are named and labelled."""

import re
import unicodedata

PREFIX = "agentpool.dev/"
INSTALLATION = f"{PREFIX}installation"
UID = f"{PREFIX}instance-uid"
INSTANCE = f"{PREFIX}instance"
NAMESPACE = f"{PREFIX}namespace"
POOL = f"{PREFIX}pool"
TEMPLATE_HASH = f"{PREFIX}template-hash"
ON_DELETE = f"{PREFIX}on-delete"
"""On a volume: what becomes of it when its instance ends."""

LENGTH = 63
"""Longest name of a container: what fits into a label of DNS, so that a network can resolve it."""
_UNSAFE = re.compile(r"[^a-z0-9_.]+")


def creation_name(uid: str) -> str:
    """The name under which the container of an instance is made, and that of its volume: one per uid, so that the
    engine itself refuses a second one.
    """
    return f"agentpool-{uid}"


def display_names(pool: str, agent_name: str, container: str) -> tuple[str, ...]:
    """Names that a person recognises, the best one first; the later ones are for when that is taken."""
    return tuple(_display_name(pool, agent_name, container[:length]) for length in (6, 12, 24))


def _display_name(pool: str, agent_name: str, short_id: str) -> str:
    words = [word for word in (_safe(pool), _safe(agent_name)) if word]
    head = "-".join(words)[: LENGTH - len(short_id) - 1].rstrip("-_.")
    # The engine wants a letter or digit in front; creation names are not imitated.
    return f"{head or 'agent'}-{short_id}"


def _safe(text: str) -> str:
    """Letters and digits of ASCII as far as they can be had (é becomes e), and dashes between them."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return _UNSAFE.sub("-", plain).strip("-_.")
