"""The body of POST /pool/provision, checked field by field.

A dataclass rather than a pydantic model: pydantic costs nine megabytes in a process of which a pool
holds one for every idle instance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from agent.errors import AgentError
from agent.invite_link import check_invite_link
from agent.settings import Network

DEFAULT_AGENT_NAME = "Assistant"
LONGEST_AGENT_NAME = 256
DEEPEST_METADATA = 100
"""Levels. What reads JSON takes more than what writes it, and metadata is passed on."""


@dataclass(frozen=True, slots=True)
class ProvisionRequest:
    """Who the agent becomes and, with a join link, which conversation it joins."""

    agent_name: str
    instructions: str = field(repr=False)
    join_url: str | None = field(default=None, repr=False)
    profile_image: str | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def parse(cls, body: bytes, network: Network) -> ProvisionRequest:
        """Read a body or raise 400 with one sentence; fields this version does not know are ignored."""
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise AgentError(400, f"The body is not JSON: {error}.") from None
        if not isinstance(value, dict):
            raise AgentError(400, "The body is not a JSON object: send {agentName, instructions, joinUrl?}.")
        instructions = _text(value, "instructions")
        if instructions is None:
            raise AgentError(400, "instructions is empty: say what the agent is to do.")
        join_url = _text(value, "joinUrl")
        if join_url is not None:
            check_invite_link(join_url, network, field="joinUrl")
        return cls(
            agent_name=_agent_name(value),
            instructions=instructions,
            join_url=join_url,
            profile_image=_text(value, "profileImage"),
            metadata=metadata_in(value),
        )


def metadata_in(value: dict[str, Any]) -> dict[str, Any] | None:
    """The field "metadata"; None when it is absent or null, and 400 when it is nothing that can be passed on."""
    metadata = value.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise AgentError(400, "metadata is not an object: send a JSON object or leave it out.")
    level: list[Any] = [metadata]
    for _ in range(DEEPEST_METADATA):
        inner = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        level = [each for each in inner if isinstance(each, dict | list)]
    if level:
        raise AgentError(400, f"metadata is nested deeper than {DEEPEST_METADATA} levels: flatten it.")
    return metadata


def _agent_name(value: dict[str, Any]) -> str:
    # Older managers send "name".
    key = "agentName" if value.get("agentName") is not None else "name"
    name = (_text(value, key) or DEFAULT_AGENT_NAME).strip()
    if len(name) > LONGEST_AGENT_NAME or not name.isprintable():
        raise AgentError(
            400, f"{key} is not a name: use at most {LONGEST_AGENT_NAME} printable characters on one line."
        )
    return name


def _text(value: dict[str, Any], key: str) -> str | None:
    """The field's text; None when it is absent, null or blank."""
    text = value.get(key)
    if text is None:
        return None
    if not isinstance(text, str):
        raise AgentError(400, f"{key} is not a string.")
    return text if text.strip() else None
