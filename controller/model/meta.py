"""What every Kubernetes object carries: metadata, conditions, references."""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "agentpool.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

POOL_LABEL = f"{GROUP}/pool"
TEMPLATE_HASH_LABEL = f"{GROUP}/template-hash"
FINALIZER = f"{GROUP}/remote"
"""Holds an instance until nothing of its remote is left, and its last record is safe."""
LEDGER_FINALIZER = f"{GROUP}/ledger"
"""Holds a claim until its last record is safe."""

INSTALLATION = "agentpool-installation"
"""The ConfigMap with the id of the operator's installation; and the Secret in which earlier versions kept that, and a
key for the tokens of all instances."""


class Schema(BaseModel):
    """A piece of a resource: camelCase outside, frozen inside, tolerant of fields that a newer version added."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


Labels = Annotated[dict[str, str], BeforeValidator(_none_is_empty)]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]
"""A date and time. Kubernetes writes its zone; one without is taken for UTC, since it could be compared with "
"no other."""


class OwnerReference(Schema):
    """The object that this one belongs to and goes away with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


def version_in(resource_version: str) -> int | None:
    """A resource version as a number; ``None`` when it is none, or longer than etcd can count."""
    plain = resource_version.isascii() and resource_version.isdigit() and len(resource_version) < 20
    return int(resource_version) if plain else None


class ObjectMeta(Schema):
    """The part of ``metadata`` that the controller reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = "0"
    generation: int = 0
    creation_timestamp: Moment | None = None
    deletion_timestamp: Moment | None = None
    finalizers: tuple[str, ...] = ()
    labels: Labels = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def deleting(self) -> bool:
        """Whether somebody asked for its deletion and a finalizer still holds it."""
        return self.deletion_timestamp is not None

    @property
    def version(self) -> int:
        """The resource version as a number that grows (Kubernetes promises comparability since 1.35)."""
        return version_in(self.resource_version) or 0


class Condition(Schema):
    """One aspect of an object's state, in the form that ``kubectl wait`` and ``kubectl describe`` know."""

    type: Annotated[str, Field(max_length=316)]
    """CamelCase name of the aspect."""
    status: Literal["True", "False", "Unknown"]
    """Whether the aspect holds."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """CamelCase word for programs: why the condition has this status."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Sentence for people: why, and what to do about it."""
    last_transition_time: Moment | None = None
    """When status last changed."""
    observed_generation: int | None = None
    """The generation of the spec that this speaks of."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""The conditions of an object, one of each type."""


class Resource(Schema):
    """A custom resource of this group; each kind names itself."""

    kind_name: ClassVar[str]
    plural: ClassVar[str]

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.metadata.namespace, self.metadata.name

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Read an object as the API server sends it; raises ``pydantic.ValidationError``."""
        return cls.model_validate(raw)


def condition_of(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.type == kind), None)
