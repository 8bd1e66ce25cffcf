"""AgentInstance: one agent, made by the operator, never by a user, never changed in place."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from controller.model.backend import BackendSpec
from controller.model.meta import Conditions, Moment, Resource, Schema
from controller.model.template import Template


class InstancePhase(StrEnum):
    """Where an instance is in its life."""

    STARTING = "Starting"
    IDLE = "Idle"
    CLAIMED = "Claimed"
    CRASHED = "Crashed"
    TERMINATING = "Terminating"


class ClaimRef(Schema):
    """The claim that an instance belongs to. Writing it is the binding."""

    name: Annotated[str, Field(max_length=253)]
    """Name of the AgentClaim, in the same namespace."""
    uid: Annotated[str, Field(max_length=64)]
    """UID of the AgentClaim: a later claim of the same name is another one."""
    agent_name: Annotated[str, Field(max_length=128)] = ""
    """The name that the claim gave the agent."""


def _fixed(*fields: str) -> str:
    same = "(has(self.{0}) ? has(oldSelf.{0}) && self.{0} == oldSelf.{0} : !has(oldSelf.{0}))"
    return " && ".join(same.format(field) for field in fields)


class InstanceSpec(Schema):
    """What the instance was made from."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.pool == oldSelf.pool && self.templateHash == oldSelf.templateHash && "
                    "self.backend == oldSelf.backend && " + _fixed("poolUid", "template"),
                    "message": "an instance is never changed in place: change its pool's template, or delete the "
                    "instance",
                },
                {
                    "rule": "!has(oldSelf.claimRef) || (has(self.claimRef) && self.claimRef == oldSelf.claimRef)",
                    "message": "an instance that belongs to a claim is never handed to another: delete the claim",
                },
            ]
        }
    )
    pool: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the AgentPool that it belongs to."""
    pool_uid: Annotated[str, Field(max_length=64)] = ""
    """UID of that pool."""
    template_hash: Annotated[str, Field(max_length=64)]
    """Hash of backend and template: an instance with an old one is outdated."""
    backend: BackendSpec
    """Where it runs."""
    template: Template = Field(default_factory=Template)
    """What runs inside."""
    claim_ref: ClaimRef | None = None
    """The claim that it belongs to; set once."""


class InstanceStatus(Schema):
    """What became of it."""

    phase: InstancePhase | None = None
    """Starting, Idle, Claimed, Crashed or Terminating."""
    url: str | None = None
    """Where the operator reaches it."""
    backend_id: str | None = None
    """What the backend calls it: a process id, a container id, a service id."""
    launched_at: Moment | None = None
    """When the backend had taken it on: started its process or container, made its service."""
    ready_at: Moment | None = None
    """When it first was ready."""
    claimed_at: Moment | None = None
    """When it took up its conversation."""
    conversation_id: str | None = None
    """Its conversation."""
    message: str | None = None
    """What went wrong, in a sentence."""
    conditions: Conditions = ()
    """Ready: whether the agent inside answers. Drifted: whether somebody changed the instance at its backend; absent
    while nobody ever did."""


class AgentInstance(Resource):
    """One agent. The operator makes and destroys it; read it with kubectl get agentinstances."""

    kind_name: ClassVar[str] = "AgentInstance"
    plural: ClassVar[str] = "agentinstances"

    spec: InstanceSpec
    """What the instance was made from."""
    status: InstanceStatus = Field(default_factory=InstanceStatus)
    """What became of it; written by the operator."""
