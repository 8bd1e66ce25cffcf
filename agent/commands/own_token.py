"""The token by which an instance shows the operator who it is."""

from __future__ import annotations

import json
from collections.abc import Mapping

from agent.errors import SettingsError
from agent.settings import state_dir


def own_token(environment: Mapping[str, str]) -> str:
    """What provisioning brought, which its record keeps; before that, what the instance was launched with.

    Inside the gateway AGENT_TOKEN says so: there OPENCLAW_GATEWAY_TOKEN is the gateway's own, which the operator
    never heard of.
    """
    try:
        brought = json.loads((state_dir(environment) / "provision.json").read_bytes())["token"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SettingsError):
        brought = None
    if isinstance(brought, str) and brought:
        return brought
    return environment.get("AGENT_TOKEN", "").strip() or environment.get("OPENCLAW_GATEWAY_TOKEN", "").strip()
