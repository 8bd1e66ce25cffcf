"""Settings of the operator: command line options and AGENTPOOL_* environment variables."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from controller.backends import KNOWN


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in KNOWN:
            raise ValueError(f"there is no backend {name}: choose among {', '.join(KNOWN)}")
    return names


class Settings(BaseSettings):
    """Everything that can be said to ``agentpool run`` and ``agentpool standalone``."""

    model_config = SettingsConfigDict(env_prefix="AGENTPOOL_", frozen=True, extra="forbid")

    kubeconfig: Path | None = None
    """Where the API server is described. Absent: the service account of the pod, else KUBECONFIG or ~/.kube/config."""
    context: str | None = None
    """Context of the kubeconfig; its current one when absent."""
    namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Namespaces to serve, in the environment separated by commas; empty: all."""
    operator_namespace: str = "default"
    """Where the operator keeps its own Secret."""
    http_host: str = "127.0.0.1"
    """Address for /healthz, /readyz and /metrics."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8090
    """Port for the same."""
    log_format: Literal["readable", "json"] = "readable"
    """One line of text or one JSON object per record."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe records that are shown."""
    backends: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_known)] = KNOWN
    """Backends that pools may use, in the environment separated by commas: process, docker."""
    state_dir: Path = Path(".agentpool")
    """Where the process backend keeps its instances."""
    relist_seconds: Annotated[float, Field(ge=10)] = 600.0
    """How often the view is compared with the API server."""
    orphan_grace_seconds: Annotated[float, Field(ge=1)] = 60.0
    """How long a remote may have no owner before it is ended."""
