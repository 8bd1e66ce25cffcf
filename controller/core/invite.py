"""Invite links, and the network of the messenger that each belongs to."""

from urllib.parse import urlsplit

from controller.model import Network

HOSTS = {Network.DEV: "dev.convos.org", Network.PRODUCTION: "popup.convos.org"}
"""Where the links of each network lead. What other hosts are good for, the agent's gateway knows."""


def network_of(link: str) -> Network | None:
    """The network that an invite link belongs to; ``None`` when its host does not tell."""
    try:
        host = (urlsplit(link).hostname or "").rstrip(".")
    except ValueError:
        return None
    return next((network for network, its in HOSTS.items() if host == its), None)


def wrong_network(link: str | None, pool: str, lives_in: Network | None) -> str | None:
    """Why a claim with this invite link can get nothing from a pool whose agents live in that network, if so."""
    if link is None or lives_in is None:
        return None
    network = network_of(link)
    if network is None or network is lives_in:
        return None
    return (
        f"its joinUrl belongs to the {network} network ({HOSTS[network]}), but the agents of pool {pool} live in "
        f"{lives_in}: create another claim on a pool of the {network} network, or with an invite link of "
        f"{HOSTS[lives_in]}"
    )
