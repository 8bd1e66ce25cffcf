"""AgentClaim: "give me an agent". Deleting it gives the agent back, and the agent is destroyed."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from controller.model.meta import Conditions, Moment, Resource, Schema
from controller.model.references import ConfigMapKeyRef, SecretKeyRef

DEFAULT_INSTRUCTIONS = "You are a helpful AI assistant."
"""What an agent is told whose claim says nothing."""


class ClaimPhase(StrEnum):
    """Where a claim is in its life."""

    PENDING = "Pending"
    BINDING = "Binding"
    BOUND = "Bound"
    PENDING_ACCEPTANCE = "PendingAcceptance"
    FAILED = "Failed"
    EVICTED = "Evicted"
    EXPIRED = "Expired"

    @property
    def ended(self) -> bool:
        """Whether nothing will ever happen to the claim again, besides its deletion."""
        return self in {ClaimPhase.FAILED, ClaimPhase.EVICTED, ClaimPhase.EXPIRED}

    @property
    def provisioned(self) -> bool:
        """Whether an instance holds a conversation for the claim."""
        return self in {ClaimPhase.BOUND, ClaimPhase.PENDING_ACCEPTANCE}


class InstructionsSource(Schema):
    """Where the instructions come from: exactly one of the two."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.configMapKeyRef) != has(self.secretKeyRef)",
                    "message": "instructionsFrom takes exactly one of configMapKeyRef and secretKeyRef",
                }
            ]
        }
    )
    config_map_key_ref: ConfigMapKeyRef | None = None
    """A key of a ConfigMap."""
    secret_key_ref: SecretKeyRef | None = None
    """A key of a Secret; its content never appears in a resource, log or Event."""


class ClaimSpec(Schema):
    """The agent that somebody wants. It cannot be changed: make a new claim."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self == oldSelf",
                    "message": "a claim cannot be changed: delete it and create another",
                },
                {
                    "rule": "!(has(self.instructions) && has(self.instructionsFrom))",
                    "message": "a claim takes either instructions or instructionsFrom: remove one of them",
                },
            ]
        }
    )
    pool: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the AgentPool to take the agent from, in the same namespace."""
    agent_name: Annotated[str, Field(min_length=1, max_length=100)] = "Assistant"
    """What the agent is called in the conversation."""
    instructions: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    """What the agent is told to be and do. Without this and instructionsFrom: "You are a helpful AI assistant."."""
    instructions_from: InstructionsSource | None = None
    """Takes the instructions from a ConfigMap or Secret."""
    join_url: (
        Annotated[
            str,
            Field(
                pattern=r"^https://[^\s]+$",
                max_length=4096,
                json_schema_extra={
                    "x-kubernetes-validations": [
                        {
                            "rule": "self.startsWith('https://')",
                            "message": "joinUrl must begin with https://: copy the whole invite URL",
                        }
                    ]
                },
            ),
        ]
        | None
    ) = None
    """Invite URL of a conversation that the agent shall join, in the network in which the pool's agents live. Absent:
    it opens a conversation of its own."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    """Claims of higher priority are served first; equal ones first come, first served."""
    lifetime_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds from binding until the claim expires and its agent is destroyed. Absent: the pool's default."""
    bind_timeout_seconds: Annotated[int, Field(ge=1, le=31_536_000)] | None = None
    """Seconds from creation until a claim that is still not bound fails. Absent: the pool's."""


class ClaimStatus(Schema):
    """What became of the claim."""

    phase: ClaimPhase | None = None
    """Pending, Binding, Bound, PendingAcceptance, Failed, Evicted or Expired."""
    instance: str | None = None
    """Name of the AgentInstance that belongs to it."""
    invite_url: str | None = None
    """Open this to talk to the agent."""
    conversation_id: str | None = None
    """The conversation that the agent is in."""
    joined: bool | None = None
    """Whether the agent joined a conversation that existed before."""
    queue_position: int | None = None
    """How many claims are served before this one, itself included; absent once it has an instance."""
    attempts: int | None = None
    """How many instances were destroyed because they could not take up the conversation."""
    bound_at: Moment | None = None
    """When it was bound."""
    message: str | None = None
    """What it waits for or why it ended, in a sentence."""
    conditions: Conditions = ()
    """Ready: True while it is Bound and its agent answers."""


class AgentClaim(Resource):
    """Asks a pool for an agent; status.inviteUrl answers."""

    kind_name: ClassVar[str] = "AgentClaim"
    plural: ClassVar[str] = "agentclaims"

    spec: ClaimSpec
    """The agent that somebody wants."""
    status: ClaimStatus = Field(default_factory=ClaimStatus)
    """What became of the claim; written by the operator."""
