"""Where instances run: one model per backend."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controller.model.meta import Schema
from controller.model.references import SecretKeyRef, SecretName


class ProcessBackend(Schema):
    """Instances are processes on the host of the operator."""

    termination_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds between SIGTERM and SIGKILL when an instance ends."""


class DockerLogs(Schema):
    """How much of an instance's output the engine keeps."""

    max_size: Annotated[str, Field(max_length=16, pattern=r"^[1-9][0-9]*[kmg]$")] = "10m"
    """Size of one log file, for example 10m."""
    max_files: Annotated[int, Field(ge=1, le=100)] = 3
    """How many of them are kept."""


class DockerBackend(Schema):
    """Instances are containers of a Docker engine: the one that DOCKER_HOST of the operator names."""

    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When the image is fetched from its registry before a start."""
    image_pull_secret: SecretName | None = None
    """Secret of type kubernetes.io/dockerconfigjson with the credentials for the registry."""
    network: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")] = "bridge"
    """Network of the containers: it must exist, and let ports be published, which host and none do not."""
    publish_address: Annotated[str, Field(min_length=2, max_length=45, pattern=r"^[0-9a-fA-F.:]+$")] = "127.0.0.1"
    """Address of the engine's host on which the port of an instance is published, on a free port that the engine
    chooses. With an engine on another host, one that the operator reaches."""
    init: bool = True
    """Whether the engine's own init is the first process, so that nothing is left unreaped."""
    read_only_root_filesystem: bool = True
    """Whether all but the state directory and /tmp is read-only."""
    add_capabilities: Annotated[
        tuple[Annotated[str, Field(max_length=64, pattern=r"^[A-Z_]+$")], ...], Field(max_length=64)
    ] = ()
    """Linux capabilities to keep, for example NET_BIND_SERVICE; all others are dropped."""
    logs: DockerLogs = Field(default_factory=DockerLogs)
    """How much of its output is kept."""
    labels: Annotated[
        dict[str, Annotated[str, Field(max_length=1024, description="Value of the label.")]],
        Field(json_schema_extra={"maxProperties": 64}),
    ] = Field(default_factory=dict)
    """Labels for the containers and volumes, besides those of agentpool, which lead."""
    termination_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds between SIGTERM and SIGKILL when an instance ends."""


Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
"""An id as a vendor gives them: letters, digits and dashes."""


class RailwayBackend(Schema):
    """Instances are services of one environment of a Railway project."""

    project_id: Identifier
    """Id of the Railway project; it is in the address of the project's page."""
    environment_id: Identifier
    """Id of the environment within the project. Each environment has pools of its own."""
    token_secret_ref: SecretKeyRef
    """The token with which Railway is asked: its Secret must hold it under that key. A change of it, or of tokenType
    or plan, replaces no instance."""
    token_type: Literal["Project", "Account", "Workspace"] = "Project"  # noqa: S105 - a kind, not a token
    """What kind of token it is: a Project token is for one environment only and is to be preferred."""
    plan: Literal["Free", "Hobby", "Pro"] = "Hobby"
    """Plan of the account. No more requests are sent than it allows: Free 100, Hobby 1000, Pro 10000 an hour."""
    image_pull_secret: SecretName | None = None
    """Secret of type kubernetes.io/dockerconfigjson with the credentials for the image's registry."""
    region: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")] | None = None
    """Region of the instances, for example europe-west4-drams3a. Absent: the one that Railway chooses."""
    sleep_application: bool = False
    """Whether Railway puts an instance to sleep when it has no traffic; whoever talks to it wakes it. Once ready such
    an instance is not health-checked any more, asleep or awake, since checks would keep it awake for ever: it counts as
    well until Railway says that it ended. Its program boots anew when it wakes, so claims.provisionTimeoutSeconds must
    leave the time for that, and what it is to keep belongs on a volume."""
    healthcheck_path: Annotated[str, Field(max_length=256, pattern=r"^/[^\s]*$")] | None = None
    """Path that Railway itself asks during a deployment before it calls it successful. Absent: it asks none."""
    restart_policy: Literal["Never", "OnFailure"] = "Never"
    """Whether Railway starts the program again that failed. What it had outside its volume is gone then, so an agent
    without a volume loses its conversation."""
    termination_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds between SIGTERM and SIGKILL when an instance ends."""


class BackendSpec(Schema):
    """Where instances run: exactly one backend."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "[has(self.process), has(self.docker), has(self.railway)].exists_one(each, each)",
                    "message": "backend must name exactly one backend: set backend.railway, backend.docker or "
                    "backend.process (the last two may be empty: {})",
                }
            ]
        }
    )
    process: ProcessBackend | None = None
    """Local processes on the host where the operator runs: for development and single hosts."""
    docker: DockerBackend | None = None
    """Containers on a Docker engine, local or remote."""
    railway: RailwayBackend | None = None
    """Services on Railway."""

    @property
    def name(self) -> str:
        """The module in ``controller.backends`` that serves it."""
        if self.railway is not None:
            return "railway"
        return "docker" if self.docker is not None else "process"

    def place(self, namespace: str) -> str:
        """Names the connection over which its instances are reached: all that share one have the same.

        A backend that finds its place by itself has one connection. Railway's are told apart by all that leads there.
        """
        if self.railway is None:
            return self.name
        way, token = self.railway, self.railway.token_secret_ref
        return "/".join((
            self.name, way.project_id, way.environment_id, namespace, token.name, token.key, way.token_type, way.plan
        ))  # fmt: skip

    @property
    def deploys(self) -> bool:
        """Whether it builds and deploys an instance before that runs: each of these has a deadline of its own."""
        return self.railway is not None

    @property
    def sleeps(self) -> bool:
        """Whether it puts an instance to sleep that has no traffic, so that health checks would keep it awake."""
        return self.railway is not None and self.railway.sleep_application

    @property
    def termination_grace_seconds(self) -> int:
        """Seconds between asking an instance to end and forcing it."""
        options = self.railway or self.docker or self.process
        return options.termination_grace_seconds if options is not None else 10
