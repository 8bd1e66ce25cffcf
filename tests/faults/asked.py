"""What a request to the API server asks for, and what a person would call it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
WRITES = frozenset(VERBS.values())


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as RBAC sees it."""

    who: str
    """Which operator."""
    verb: str
    """get, list, watch, create, update, patch or delete."""
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def writes(self) -> bool:
        return self.verb in WRITES

    @property
    def is_news(self) -> bool:
        """Whether it changes something besides the operator's own Lease."""
        return self.writes and self.resource != "leases"

    @property
    def step(self) -> str:
        """The step in the life of something that the request is, in words."""
        singular = self.resource.removeprefix("agent").removesuffix("s")
        match self.verb, self.resource, self.subresource:
            case "patch", "agentinstances" | "agentclaims" | "agentpools", "status":
                phase = (self.body.get("status") or {}).get("phase")
                return f"{singular} becomes {phase}" if phase else f"status of {singular}"
            case "patch", "agentinstances" | "agentclaims", "":
                return self._change(singular)
            case _:
                return f"{self.verb} {singular if self.writes or self.verb == 'get' else self.resource}"

    def _change(self, singular: str) -> str:
        if (self.body.get("spec") or {}).get("claimRef"):
            return "bind"
        metadata = self.body.get("metadata") or {}
        if "finalizers" in metadata:
            # Instances have theirs from the start.
            held = singular == "claim" and metadata["finalizers"]
            return f"hold {singular}" if held else f"let {singular} go"
        return f"patch {singular}"


def asked(who: str, method: str, path: str, query: Mapping[str, str], content: bytes) -> Asked:
    """Read a request; what is no resource (as /version) has the path for its name."""
    parts = [part for part in path.split("/") if part]
    group, rest = "", []
    if parts[:1] == ["api"]:
        rest = parts[2:]
    elif parts[:1] == ["apis"]:
        group, rest = (parts[1] if len(parts) > 1 else ""), parts[3:]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = (*rest, "", "", "")[:3]
    if not resource:
        return Asked(who, "get", group, "", "", "", path)
    verb = VERBS.get(method) or _reading(name, query)
    return Asked(who, verb, group, resource, subresource, namespace, name, _parsed(content))


def _reading(name: str, query: Mapping[str, str]) -> str:
    if query.get("watch") in {"true", "1"}:
        return "watch"
    return "get" if name else "list"


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content) if content else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
