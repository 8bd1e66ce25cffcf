"""What an instance is made from: the template, and the backend where it runs."""

import hashlib
from typing import Annotated, Literal

import orjson
from pydantic import ConfigDict, Field

from controller.model.meta import Schema

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


class Resources(Schema):
    """What one instance may use."""

    memory: (
        Annotated[
            str,
            Field(
                pattern=MEMORY_PATTERN,
                max_length=20,
                json_schema_extra={
                    "x-kubernetes-validations": [
                        {
                            "rule": f"self.matches('{MEMORY_PATTERN}')",
                            "message": "memory must be a number of bytes or a number with a unit, for example 512Mi "
                            "or 2Gi",
                        }
                    ]
                },
            ),
        ]
        | None
    ) = None
    """Memory limit of the whole instance, for example 512Mi or 2Gi. No limit when absent."""


class Template(Schema):
    """What runs inside an instance."""

    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] = ()
    """Program and arguments. Empty: the agent runtime that comes with agentpool."""
    env: Annotated[
        tuple[EnvVar, ...],
        Field(
            max_length=128, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    """Environment variables, besides those that agentpool itself sets (PORT, INSTANCE_ID, OPENCLAW_STATE_DIR,
    OPENCLAW_GATEWAY_TOKEN)."""
    resources: Resources = Field(default_factory=Resources)
    """Limits of one instance."""
    protocol: Literal["pool", "convos"] = "pool"
    """How the operator talks to the program: pool (/pool/health and /pool/provision) or convos (/convos/status,
    /convos/conversation and /convos/join of a bare gateway)."""


class ProcessBackend(Schema):
    """Instances are processes on the host of the operator."""

    termination_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    """Seconds between SIGTERM and SIGKILL when an instance ends."""


class BackendSpec(Schema):
    """Where instances run: exactly one backend."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.process)",
                    "message": "backend must name exactly one backend: set backend.process (it may be empty: {})",
                }
            ]
        }
    )
    process: ProcessBackend | None = None
    """Local processes on the host where the operator runs: for development and single hosts."""

    @property
    def name(self) -> str:
        """The module in ``controller.backends`` that serves it."""
        return "process"


def template_hash(backend: BackendSpec, template: Template) -> str:
    """Ten hexadecimal digits that change when, and only when, a new instance would be built differently."""
    # Defaults are left out, so that a field which a newer version adds does not roll over every pool.
    content = {
        "backend": backend.model_dump(mode="json", exclude_defaults=True),
        "template": template.model_dump(mode="json", exclude_defaults=True),
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]
