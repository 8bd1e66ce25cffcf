"""How kubectl names the kinds and what it shows of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.model.claim import AgentClaim
from controller.model.instance import AgentInstance
from controller.model.meta import Resource
from controller.model.pool import AgentPool

CATEGORY = "agents"
"""What ``kubectl get agents`` lists: all kinds."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``; wide ones show with ``-o wide`` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def definition(self) -> dict[str, Any]:
        """As it stands in the definition."""
        column = {"name": self.name, "type": self.type, "description": self.description, "jsonPath": self.path}
        return column | {"priority": 1} if self.wide else column


_AGE = Column("Age", ".metadata.creationTimestamp", "How long ago it was created.", "date")


@dataclass(frozen=True, slots=True)
class Presentation:
    """How kubectl names a kind and what it shows of it."""

    short_name: str
    columns: tuple[Column, ...]
    scale: Mapping[str, str] | None = None


PRESENTATIONS: Mapping[type[Resource], Presentation] = {
    AgentPool: Presentation(
        short_name="apool",
        columns=(
            Column("Min-Idle", ".spec.minIdle", "How many instances to hold warm and unclaimed.", "integer"),
            Column("Idle", ".status.idle", "Instances that are ready and unclaimed.", "integer"),
            Column("Starting", ".status.starting", "Instances that are not ready yet.", "integer"),
            Column("Claimed", ".status.claimed", "Instances that belong to a claim.", "integer"),
            Column("Crashed", ".status.crashed", "Instances that died or stopped answering.", "integer"),
            Column("Total", ".status.total", "All instances.", "integer"),
            Column("Max", ".spec.maxTotal", "How many instances may exist at all.", "integer"),
            Column(
                "Ready",
                '.status.conditions[?(@.type=="Ready")].status',
                "Whether the pool holds what it should; kubectl describe says why not.",
            ),
            _AGE,
        ),
        scale={
            "specReplicasPath": ".spec.minIdle",
            "statusReplicasPath": ".status.idle",
            "labelSelectorPath": ".status.selector",
        },
    ),
    AgentInstance: Presentation(
        short_name="ainst",
        columns=(
            Column("Pool", ".spec.pool", "The pool that it belongs to."),
            Column("Phase", ".status.phase", "Where it is in its life."),
            Column("Claim", ".spec.claimRef.name", "The claim that it belongs to."),
            Column("Agent", ".spec.claimRef.agentName", "The name that the claim gave the agent."),
            _AGE,
            Column("URL", ".status.url", "Where the operator reaches it.", wide=True),
            Column("Backend-ID", ".status.backendId", "What the backend calls it.", wide=True),
            Column("Template", ".spec.templateHash", "Hash of what it was built from.", wide=True),
        ),
    ),
    AgentClaim: Presentation(
        short_name="aclaim",
        columns=(
            Column("Pool", ".spec.pool", "The pool that the agent is taken from."),
            Column("Phase", ".status.phase", "Where it is in its life."),
            Column("Agent", ".spec.agentName", "What the agent is called in the conversation."),
            Column("Instance", ".status.instance", "The instance that belongs to it."),
            _AGE,
            Column("Invite-URL", ".status.inviteUrl", "Open this to talk to the agent.", wide=True),
        ),
    ),
}
"""Every kind, in the order in which the definitions are made."""
