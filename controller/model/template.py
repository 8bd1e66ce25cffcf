"""What an instance is made from: the template, and the backend where it runs."""

import hashlib
from typing import Annotated, Any, Literal

import orjson
from pydantic import ConfigDict, Field, JsonValue

from controller.model.meta import Schema

_NAME = "[a-z0-9]+([._-]+[a-z0-9]+)*"
IMAGE_PATTERN = f"^{_NAME}(:[0-9]+)?(/{_NAME})*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]*)?(@sha256:[0-9a-f]+)?$"
CPU_PATTERN = r"^([1-9][0-9]*m|[1-9][0-9]*|[0-9]+[.][0-9]{1,3})$"
MEMORY_PATTERN = r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"


class SecretKeyRef(Schema):
    """One key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the Secret, in the namespace of the pool or claim."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key within it."""


class ConfigMapKeyRef(Schema):
    """One key of a ConfigMap in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the ConfigMap, in the namespace of the claim."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key within it."""


class EnvSource(Schema):
    """Where the value of an environment variable comes from."""

    secret_key_ref: SecretKeyRef
    """The value is this key of a Secret; it is read at launch and stored nowhere else."""


class EnvVar(Schema):
    """One environment variable of the instance."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!(has(self.value) && has(self.valueFrom))",
                    "message": "an environment variable takes either value or valueFrom: remove one of them",
                }
            ]
        }
    )
    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable: letters, digits and underscores."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """The value itself. Everybody who may read the pool can read it: use valueFrom for secrets."""
    value_from: EnvSource | None = None
    """Takes the value from a Secret."""


def _matching(pattern: str, message: str, max_length: int) -> Any:
    """A text of a certain form; a rule and not a pattern, since its message says what to write."""
    rule: dict[str, JsonValue] = {"rule": f"self.matches('{pattern}')", "message": message}
    return Field(pattern=pattern, max_length=max_length, json_schema_extra={"x-kubernetes-validations": [rule]})


Memory = Annotated[
    str,
    _matching(MEMORY_PATTERN, "memory must be a number of bytes or a number with a unit, for example 512Mi or 2Gi", 20),
]
Cpu = Annotated[
    str, _matching(CPU_PATTERN, "cpu must be a number of cores or of thousandths, for example 2, 0.5 or 500m", 16)
]
Image = Annotated[
    str,
    _matching(
        IMAGE_PATTERN,
        "image must be the name of an image with a tag or digest, for example ghcr.io/acme/agent:1.4: lower case, "
        "without spaces or https://",
        512,
    ),
]


class Resources(Schema):
    """Limits of one instance."""

    memory: Memory | None = None
    """Memory limit of the whole instance, for example 512Mi or 2Gi. No limit when absent."""
    cpu: Cpu | None = None
    """Processor time of the whole instance: a number of cores (0.5, 2) or of thousandths (500m). No limit when absent.
    The process backend does not have it."""
    pids: Annotated[int, Field(ge=16, le=4_194_304)] | None = None
    """How many processes and threads it may have at once. With the docker backend 1024 when absent; the process
    backend does not have it."""


class Volume(Schema):
    """A volume of the instance's own, for its state."""

    on_delete: Literal["Delete", "Retain"] = "Delete"
    """What becomes of it when the instance ends: Delete removes it with the instance; Retain leaves it to a person,
    who finds it by its labels."""


class Template(Schema):
    """What runs inside an instance."""

    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] = ()
    """Program and arguments. Empty: what the image runs by itself, or with the process backend the agent runtime that
    comes with agentpool."""
    env: Annotated[
        tuple[EnvVar, ...],
        Field(
            max_length=128, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    """Environment variables, besides those that agentpool itself sets (PORT, INSTANCE_ID, OPENCLAW_STATE_DIR,
    OPENCLAW_GATEWAY_TOKEN)."""
    image: Image | None = None
    """Image of the instance, by tag or digest, for backends that run images. The process backend runs none."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """Where the program listens inside its container; it is told so by PORT. The process backend chooses one itself."""
    state_dir: Annotated[str, Field(min_length=2, max_length=256, pattern=r"^/[^:,\s]+$")] = "/data"
    """Where the instance keeps its state inside its container; it is told so by OPENCLAW_STATE_DIR. The image must have
    that directory, and its user must own it. The rest of the file system may be read-only. The process backend
    chooses one itself."""
    volume: Volume | None = None
    """A named volume for the state. Absent: the state ends with the container."""
    resources: Resources = Field(default_factory=Resources)
    """Limits of one instance."""
    protocol: Literal["pool", "convos"] = "pool"
    """How the operator talks to the program: pool (/pool/health and /pool/provision) or convos (/convos/status,
    /convos/conversation and /convos/join of a bare gateway)."""


class ProcessBackend(Schema):
    """Instances are processes on the host of the operator."""

    termination_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds between SIGTERM and SIGKILL when an instance ends."""


class SecretName(Schema):
    """A Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name."""


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


class BackendSpec(Schema):
    """Where instances run: exactly one backend."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.process) != has(self.docker)",
                    "message": "backend must name exactly one backend: set backend.docker or backend.process (which "
                    "may be empty: {})",
                }
            ]
        }
    )
    process: ProcessBackend | None = None
    """Local processes on the host where the operator runs: for development and single hosts."""
    docker: DockerBackend | None = None
    """Containers on a Docker engine, local or remote."""

    @property
    def name(self) -> str:
        """The module in ``controller.backends`` that serves it."""
        return "docker" if self.docker is not None else "process"

    @property
    def termination_grace_seconds(self) -> int:
        """Seconds between asking an instance to end and forcing it."""
        options = self.docker or self.process
        return options.termination_grace_seconds if options is not None else 10


def template_hash(backend: BackendSpec, template: Template) -> str:
    """Ten hexadecimal digits that change when, and only when, a new instance would be built differently."""
    # Defaults are left out, so that a field which a newer version adds does not roll over every pool.
    content = {
        "backend": backend.model_dump(mode="json", exclude_defaults=True),
        "template": template.model_dump(mode="json", exclude_defaults=True),
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]
