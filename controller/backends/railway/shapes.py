"""The shapes in which Railway answers: strict about what is used, indifferent to everything else.

States and kinds are plain words, so that one that is not known yet is no reason to lose a whole answer.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from controller.backends.railway.failures import Unanswered

Node = TypeVar("Node")
AnyShape = TypeVar("AnyShape", bound="Shape")


def _absent_is_empty(value: Any) -> Any:
    return {} if value is None else value


class Shape(BaseModel):
    """What all answers have in common. Its fields may hold secrets, so none shows its values."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True)


class PageInfo(Shape):
    """Whether a list goes on, and after what."""

    has_next_page: bool
    end_cursor: str | None = None


class Edge(Shape, Generic[Node]):
    """One entry of a list."""

    node: Node


class Connection(Shape, Generic[Node]):
    """One page of a list."""

    edges: tuple[Edge[Node], ...]
    page_info: PageInfo

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The entries of this page."""
        return tuple(edge.node for edge in self.edges)

    @property
    def next(self) -> str | None:
        """The cursor after which the next page begins; ``None`` when this is the last one.

        ``Unanswered`` when there are more and nobody says where: what is on them would pass for gone.
        """
        if not self.page_info.has_next_page:
            return None
        if not self.page_info.end_cursor:
            raise Unanswered("Railway's answer is cut short: there is another page, and no cursor that leads to it")
        return self.page_info.end_cursor


class DeploymentInstance(Shape):
    """One running copy of a deployment."""

    status: str


class Deployment(Shape):
    """One try to bring a service to where it runs."""

    id: str
    status: str
    """BUILDING, SUCCESS and so on, or a word that is not known yet."""
    created_at: datetime | None = None
    status_updated_at: datetime | None = None
    deployment_stopped: bool = False
    """With SUCCESS: all its instances have ended."""
    instances: tuple[DeploymentInstance, ...] = ()


class Source(Shape):
    """What a service is made from."""

    image: str | None = None
    repo: str | None = None


class ServiceDomain(Shape):
    """A host name under which a service is reached."""

    domain: str
    target_port: int | None = None


class Domains(Shape):
    """The host names of a service."""

    service_domains: tuple[ServiceDomain, ...] = ()


class ServiceInstance(Shape):
    """A service as it is in one environment."""

    service_id: str
    service_name: str
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    sleep_application: bool | None = None
    root_directory: str | None = None
    source: Source | None = None
    domains: Domains = Domains()
    latest_deployment: Deployment | None = None
    """``None`` for never deployed, and for torn down."""


class Volume(Shape):
    """A disk of a project."""

    id: str
    name: str


class VolumeInstance(Shape):
    """A disk as it is in one environment."""

    volume_id: str
    service_id: str | None = None
    mount_path: str | None = None
    is_pending_deletion: bool = False
    deleted_at: datetime | None = None
    volume: Volume


class Environment(Shape):
    """An environment, with a page of its services or of its volumes or of both."""

    id: str
    name: str
    project_id: str
    deleted_at: datetime | None = None
    service_instances: Connection[ServiceInstance] | None = None
    """``None`` when they were not asked for."""
    volume_instances: Connection[VolumeInstance] | None = None


class EnvironmentPage(Shape):
    """Answer to ``Environment``."""

    environment: Environment


class Variable(Shape):
    """A variable as it was set."""

    value: str | None = Field(default=None, repr=False)
    """``None`` for a sealed one, which Railway does not show again."""


Variables = Annotated[Mapping[str, Variable | None], BeforeValidator(_absent_is_empty)]


class ServiceConfig(Shape):
    """What is configured for a service; of what is opaque, the raw JSON."""

    source: Annotated[Mapping[str, Any], BeforeValidator(_absent_is_empty)] = Field(default_factory=dict)
    build: Annotated[Mapping[str, Any], BeforeValidator(_absent_is_empty)] = Field(default_factory=dict)
    deploy: Annotated[Mapping[str, Any], BeforeValidator(_absent_is_empty)] = Field(default_factory=dict, repr=False)
    variables: Variables = Field(default_factory=dict, repr=False)
    is_deleted: bool | None = None


class Config(Shape):
    """What is configured in an environment."""

    services: Annotated[Mapping[str, ServiceConfig | None], BeforeValidator(_absent_is_empty)] = Field(
        default_factory=dict
    )
    """By the id of the service."""


class ConfiguredEnvironment(Shape):
    """An environment with what is configured in it."""

    id: str
    config: Config


class EnvironmentConfigAnswer(Shape):
    """Answer to ``EnvironmentConfig``."""

    environment: ConfiguredEnvironment


class Service(Shape):
    """A service, whatever environments it is in."""

    id: str
    name: str
    project_id: str | None = None
    deleted_at: datetime | None = None


class ServiceAnswer(Shape):
    """Answer to ``Service``."""

    service: Service


class VariablesAnswer(Shape):
    """Answer to ``Variables``."""

    variables: Mapping[str, str | None] = Field(repr=False)


class LogLine(Shape):
    """One line of what a program wrote."""

    timestamp: str
    """RFC 3339, in nanoseconds."""
    message: str
    severity: str | None = None


class DeploymentLogsAnswer(Shape):
    """Answer to ``DeploymentLogs``."""

    deployment_logs: tuple[LogLine, ...]


class BuildLogsAnswer(Shape):
    """Answer to ``BuildLogs``."""

    build_logs: tuple[LogLine, ...]


class ProjectToken(Shape):
    """Where a project token is good for."""

    project_id: str
    environment_id: str


class ProjectTokenAnswer(Shape):
    """Answer to ``ProjectToken``."""

    project_token: ProjectToken


class ServiceCreated(Shape):
    """Answer to ``ServiceCreate``."""

    service_create: Service


class VolumeCreated(Shape):
    """Answer to ``VolumeCreate``."""

    volume_create: Volume


class ServiceDomainCreated(Shape):
    """Answer to ``ServiceDomainCreate``."""

    service_domain_create: ServiceDomain


def read(shape: type[AnyShape], data: Mapping[str, Any]) -> AnyShape:
    """The ``data`` of an answer. ``Unanswered`` when it is of another shape: nothing can be concluded from it."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        outcome = error.errors(include_url=False, include_input=False)[0]
    # Raised here and not where it was caught, so that the answer does not travel along.
    place = ".".join(str(step) for step in outcome["loc"])
    raise Unanswered(f"Railway's answer is of another shape than expected at {place}: {outcome['msg'].lower()}")
