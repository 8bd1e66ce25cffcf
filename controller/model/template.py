"""What runs inside an instance: the template; and the hash that tells one way to build an instance from another."""

import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
from pydantic import ConfigDict, Field, JsonValue

from controller.model.backend import BackendSpec
from controller.model.meta import Schema
from controller.model.references import SecretKeyRef

_NAME = "[a-z0-9]+([._-]+[a-z0-9]+)*"
IMAGE_PATTERN = f"^{_NAME}(:[0-9]+)?(/{_NAME})*(:[a-zA-Z0-9_][a-zA-Z0-9_.-]*)?(@sha256:[0-9a-f]+)?$"
CPU_PATTERN = r"^([1-9][0-9]*m|[1-9][0-9]*|[0-9]+[.][0-9]{1,3})$"
MEMORY_PATTERN = r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"


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
    """Processor time of the whole instance: a number of cores (0.5, 2) or of thousandths (500m). No limit of its own
    when absent. The process backend does not have it."""
    pids: Annotated[int, Field(ge=16, le=4_194_304)] | None = None
    """How many processes and threads it may have at once: only the docker backend has it, and takes 1024 when it is
    absent."""


class Volume(Schema):
    """A volume of the instance's own, for its state."""

    on_delete: Literal["Delete", "Retain"] = "Delete"
    """What becomes of it when the instance ends: Delete removes it with the instance; Retain leaves it to a person,
    who finds it by its labels, or with backends that have none by its name."""


class GitSource(Schema):
    """Source code that the backend builds and runs."""

    repo: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
    """Repository on GitHub, as owner/name. The backend must have been given access to it."""
    branch: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s~^:?*\[\\]+$")] = "main"
    """Branch to build. A later commit to it replaces no instance; those that are launched after it have it."""
    commit: Annotated[str, Field(min_length=40, max_length=40, pattern=r"^[0-9a-f]{40}$")] | None = None
    """Commit to build, in full. Absent: the newest of the branch at launch."""
    root_directory: Annotated[str, Field(max_length=512, pattern=r"^[^\s]*$")] = ""
    """Folder within the repository that is built, for example agent. Empty: all of it."""
    dockerfile_path: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")] | None = None
    """Path of the Dockerfile, relative to rootDirectory. Absent: the backend looks for one itself."""


class Network(StrEnum):
    """The network of the messenger that agents live in."""

    DEV = "dev"
    PRODUCTION = "production"


class Template(Schema):
    """What runs inside an instance."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!(has(self.image) && has(self.git))",
                    "message": "template takes either image or git: remove one of them",
                },
                {
                    "rule": "!has(self.network) || !has(self.env) || !self.env.exists(each, each.name == 'XMTP_ENV')",
                    "message": "network sets XMTP_ENV: remove XMTP_ENV from env, or network",
                },
            ]
        }
    )

    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] = ()
    """Program and arguments. Empty: what the image or the built source code runs by itself, or with the process backend
    the agent runtime that comes with agentpool. With the railway backend it takes the place of the ENTRYPOINT, too."""
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
    git: GitSource | None = None
    """Source code of the instance, for backends that build: railway. In place of an image."""
    network: Network | None = None
    """Network that the agents live in, dev or production: they are told so by XMTP_ENV, and a claim with an invite link
    of the other network fails at once. Absent: env may say it (XMTP_ENV with a value), else it is not known here."""
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

    @property
    def lives_in(self) -> Network | None:
        """The network that it says its agents live in, by ``network`` or by the variable itself."""
        if self.network is not None:
            return self.network
        said = next((each.value for each in self.env if each.name == "XMTP_ENV"), None)
        return next((network for network in Network if network == (said or "").strip()), None)


def template_hash(backend: BackendSpec, template: Template) -> str:
    """Ten hexadecimal digits that change when, and only when, a new instance would be built differently."""
    # Defaults are left out, so that a field which a newer version adds does not roll over every pool; and how the
    # operator gets in, since no instance is built differently for that.
    way_in = {"railway": {"token_secret_ref", "token_type", "plan"}}
    content = {
        "backend": backend.model_dump(mode="json", exclude_defaults=True, exclude=way_in),
        "template": template.model_dump(mode="json", exclude_defaults=True),
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]
